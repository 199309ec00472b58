"""docs/audit.md: its commands, and the script, which needs nothing but the standard library."""

import ast
import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import closing

import pytest

import audit_trail
from audit_trail import SCRIPT
from client import Client
from cluster import ROOT, bindir
from key_file import KeyFile

PAGE = (ROOT / "docs/audit.md").read_text()
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def client(cluster):
    name = f"export_{secrets.token_hex(4)}"
    with cluster.database(name):
        cluster.execute("CREATE EXTENSION totp", dbname=name)
        with closing(cluster.connect(dbname=name)) as connection:
            client = Client(connection)
            for number in range(3):
                person = client.enrol(f'user-{number} ü"\\\n')
                client.verify(person.account, person.phone.wrong(client.now))
                audit_trail.seal(client)
            yield client


def export(cluster, client, directory):
    """Runs the commands of the page up to the script."""
    *commands, script = COMMANDS.splitlines()
    assert script.startswith("examples/audit/verify.py ")
    variables = {**cluster.variables, "PGDATABASE": client.connection.info.dbname}
    path = f"{bindir()}:{os.environ['PATH']}"
    for command in commands:
        subprocess.run(
            ["/bin/sh", "-ec", command],
            cwd=directory,
            env={**os.environ, **variables, "PATH": path},
            check=True,
        )
    return script.split()[1:]


def run(arguments, directory):
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_the_script_needs_only_the_standard_library():
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported and imported <= sys.stdlib_module_names


def test_an_exported_trail_is_verified_as_the_page_says(cluster, client, tmp_path):
    arguments = export(cluster, client, tmp_path)
    status, output = run(arguments, tmp_path)
    assert status == 0, output
    assert output.endswith("3 seals, 1 digests: verified\n")
    status, output = run([*arguments, "--keys", KeyFile(cluster).path], tmp_path)
    assert status == 0, output


@pytest.mark.parametrize(
    ("change", "problem"),
    {
        "UPDATE totp.audit_events SET account = 'mallory' WHERE id = 3": "seal 1 entry -: altered",
        "DELETE FROM totp.audit_events WHERE id = 3": "seal 1 entry -: missing",
        "DELETE FROM totp.audit_seals WHERE id = 3": "seal 3 entry -: digest_mismatch",
        "UPDATE totp.audit_seals SET root = sha256('') WHERE id = 2": "seal 2 entry -: altered",
    }.items(),
)
def test_what_was_changed_after_the_digest_is_found_without_the_key(
    cluster, client, tmp_path, change, problem
):
    export(cluster, client, tmp_path)
    digest = (tmp_path / "digest.json").read_text()
    client.execute(change)
    export(cluster, client, tmp_path)
    (tmp_path / "digest.json").write_text(digest)
    status, output = run(["entries.jsonl", "seals.jsonl", "--digest", "digest.json"], tmp_path)
    assert status == 1 and problem in output, output
    assert output.endswith("NOT VERIFIED\n")


def test_with_the_key_the_changed_entry_is_named(cluster, client, tmp_path):
    client.execute("UPDATE totp.audit_events SET account = 'mallory' WHERE id = 3")
    arguments = export(cluster, client, tmp_path)
    status, output = run([*arguments, "--keys", KeyFile(cluster).path], tmp_path)
    assert status == 1 and "seal 1 entry 3: altered" in output, output


def test_what_was_pruned_is_no_problem(cluster, client, tmp_path):
    client.value("SELECT totp.audit_prune(now() + interval '1 day', 'a test')")
    audit_trail.seal(client)
    arguments = export(cluster, client, tmp_path)
    status, output = run(arguments, tmp_path)
    assert status == 0 and "pruned" in output, output


def test_several_digests_in_several_files_are_compared(cluster, client, tmp_path):
    arguments = export(cluster, client, tmp_path)
    digest = json.loads((tmp_path / "digest.json").read_text())
    (tmp_path / "more.json").write_text(json.dumps([digest, digest]))
    status, output = run([*arguments, "--digest", "more.json"], tmp_path)
    assert status == 0 and "3 digests: verified" in output


def test_the_statements_of_the_page_run(client):
    assert len(SQL_BLOCKS) == 9
    for block in SQL_BLOCKS:
        client.rows(block)
    assert audit_trail.findings(client)[1] is not None
