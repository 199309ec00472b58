"""What the README and the pages that continue it say is so: SQL runs, and tables are right."""

import re

import pytest

from cluster import ROOT

README = (ROOT / "README.md").read_text()
LOGIN = (ROOT / "docs/login.md").read_text()
TASKS = (ROOT / "docs/tasks.md").read_text()
REFERENCE = (ROOT / "docs/reference.md").read_text()
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()
# The examples of the pages continue those of the README.
SCRIPTS = {"README.md": [README], "login.md": [README, LOGIN], "tasks.md": [README, TASKS]}


def sql_blocks(text):
    return re.findall(r"^```sql\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("texts", SCRIPTS.values(), ids=SCRIPTS)
def test_every_sql_block_runs(cluster, other_database, texts):
    statements = [block for text in texts for block in sql_blocks(text)]
    blocks = [f"\\echo ---- block {n}\n{block}" for n, block in enumerate(statements, 1)]
    options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    output = cluster.run("psql", *options, "--dbname", other_database, text="\n".join(blocks))
    assert f"---- block {len(statements)}" in output, output
    # What is shown to work must not answer "false".
    assert "f" not in output.splitlines(), output
    assert output.splitlines().count("t") >= 3, output


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 300


def test_the_settings_to_know_have_their_defaults(dba):
    there = {
        row.name: row
        for row in dba.rows("SELECT name, boot_val, unit FROM pg_settings WHERE name LIKE 'totp.%'")
    }
    table = README.partition("| Setting | Default |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if "`totp." in line]
    assert len(rows) > 5
    for names, defaults in rows:
        for name, default in zip(
            re.findall(r"`(totp\.\w+)`", names), defaults.split(","), strict=True
        ):
            shown = re.sub(r"^name of the database$|^empty$", "", default.strip(" `"))
            boot = there[name].boot_val + (there[name].unit or "")
            assert shown == boot, name


def test_the_functions_of_totp_api_are_named(dba):
    rows = dba.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'totp_api'::regnamespace")
    section = LOGIN.partition("\n## Browsers that talk to PostgREST\n")[2].strip()
    named = set(re.findall(r"`(?:totp_api\.)?(\w+)`", section.partition("\n\n")[0]))
    assert {row.proname for row in rows} == named - {"totp_api", "totp_user", "anon"}


def test_the_sqlstates_of_the_troubleshooting_table_are_in_the_reference():
    codes = set(re.findall(r"^\| `([0-9A-Z]{5})`", TROUBLESHOOTING, re.MULTILINE))
    listed = REFERENCE.partition("\n## Errors\n")[2]
    assert len(codes) > 5 and all(f"| {code} |" in listed for code in codes)
