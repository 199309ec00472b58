"""What the README says is so: its SQL runs, and its tables list what there is."""

import re

import pytest

from cluster import ROOT

README = (ROOT / "README.md").read_text()
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
# `name(argument, argument = default)` in the first cell of a table's row
CALL = re.compile(r"`(\w+)\(([^`]*)\)`")


@pytest.fixture(scope="module")
def reference():
    """The part of the README with the tables of functions and settings."""
    return README.partition("\n## Reference")[2].partition("\n## ")[0]


def first_cells(text):
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]


def test_every_sql_block_runs(cluster, other_database):
    blocks = [f"\\echo ---- block {n}\n{block}" for n, block in enumerate(SQL_BLOCKS, 1)]
    options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    output = cluster.run("psql", *options, "--dbname", other_database, text="\n".join(blocks))
    assert f"---- block {len(SQL_BLOCKS)}" in output, output
    # What is shown to work must not answer "false".
    assert "f" not in output.splitlines(), output
    assert output.splitlines().count("t") >= 3, output


def test_the_table_of_functions_has_the_signatures_of_the_functions(dba, reference):
    query = """
        SELECT proname, coalesce(proargnames[1:pronargs], '{}') AS arguments, pronargdefaults
        FROM pg_proc WHERE pronamespace = 'totp'::regnamespace AND prorettype <> 'trigger'::regtype
    """
    there = {(row.proname, *row.arguments): row.pronargdefaults for row in dba.rows(query)}
    calls = [
        (name, arguments.split(", ") if arguments else [])
        for cell in first_cells(reference)
        for name, arguments in CALL.findall(cell)
    ]
    listed = {name for name, _ in calls}
    triggers = {"forget_account", "rename_account", "require_totp", "require_enrolment"}
    triggers |= {"require_approval", "require_other_approval"}
    for name, arguments in calls:
        if name in triggers:
            continue
        signature = (name, *(argument.split(" = ")[0] for argument in arguments))
        assert signature in there
        assert sum(" = " in argument for argument in arguments) == there[signature], name
    of_roles = dba.rows("""
        SELECT DISTINCT proname
        FROM pg_proc, unnest(ARRAY['totp_app', 'totp_user', 'stranger']) AS role
        WHERE pronamespace = 'totp'::regnamespace
        AND has_function_privilege(role, pg_proc.oid, 'EXECUTE')
    """)
    assert {row.proname for row in of_roles} <= listed


def test_the_functions_of_totp_api_are_named(dba):
    rows = dba.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'totp_api'::regnamespace")
    section = README.partition("**Browsers that talk to PostgREST**")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(?:totp_api\.)?(\w+)`", section))
    assert {row.proname for row in rows} == named - {"totp_api", "totp_user", "anon"}


def test_the_table_of_settings_lists_every_setting(dba, reference):
    there = {row[0] for row in dba.rows("SELECT name FROM pg_settings WHERE name LIKE 'totp.%'")}
    table = reference.partition("| Setting")[2].partition("\n\n")[0]
    listed = {
        f"totp.{name}" for cell in first_cells(table) for name in re.findall(r"`(\w+)`", cell)
    }
    assert listed == there


def test_the_sqlstates_of_the_troubleshooting_table_are_in_the_reference(reference):
    troubles = README.partition("\n## Troubleshooting")[2].partition("\n## ")[0]
    codes = set(re.findall(r"^\| `([0-9A-Z]{5})`", troubles, re.MULTILINE))
    assert codes and all(code in reference for code in codes)
