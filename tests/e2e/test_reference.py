"""docs/reference.md is what the server says, and nothing is missing from it."""

import os
import re
import subprocess

import psycopg

from cluster import ROOT, bindir
from conftest import DATABASE

PAGE = (ROOT / "docs/reference.md").read_text()
RAISED = re.compile(r"(?:ERRCODE = |SQLSTATE )'(\w+)'")
SQLSTATE = re.compile(r"\b(?=\w*\d)[0-9A-Z]{5}\b")


def test_the_page_is_what_the_server_says(cluster, dba):
    path = f"{bindir()}:{os.environ['PATH']}"
    written = subprocess.run(
        [ROOT / "scripts/reference", DATABASE],
        env={**os.environ, **cluster.variables, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert written.stdout == PAGE, "run make reference"


def test_every_function_that_a_role_may_call_has_a_heading(dba):
    rows = dba.rows("""
        SELECT DISTINCT proname FROM pg_proc,
            unnest(ARRAY['totp_app', 'totp_user', 'stranger', 'totp_admin', 'totp_auditor']) AS role
        WHERE pronamespace = 'totp'::regnamespace
        AND has_function_privilege(role, pg_proc.oid, 'EXECUTE')
    """)
    headings = set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
    (internal,) = re.findall(r"^Do not call these.*", PAGE, re.MULTILINE)
    assert {row.proname for row in rows} <= headings | set(re.findall(r"`(\w+)`", internal))


def test_what_a_role_may_call_for_a_view_is_the_only_internal_function_that_it_may_call(dba):
    (internal,) = re.findall(r"^Do not call these.*", PAGE, re.MULTILINE)
    rows = dba.rows(
        """
        SELECT proname FROM pg_proc, unnest(ARRAY['totp_app', 'totp_user', 'stranger']) AS role
        WHERE pronamespace = 'totp'::regnamespace AND proname = ANY (%s)
        AND has_function_privilege(role, pg_proc.oid, 'EXECUTE')
        """,
        re.findall(r"`(\w+)`", internal),
    )
    assert rows == []


def test_every_setting_has_a_heading(dba):
    there = {row.name for row in dba.rows("SELECT name FROM pg_settings WHERE name ~ '^totp\\.'")}
    assert set(re.findall(r"^### (totp\.\w+)$", PAGE, re.MULTILINE)) == there


def sqlstate(name):
    """SQL names a condition by its code or in words."""
    words = "".join(word.capitalize() for word in name.split("_"))
    return getattr(psycopg.errors, words).sqlstate if hasattr(psycopg.errors, words) else name


def test_every_sqlstate_is_listed():
    """Those that descriptions name, and those that SQL scripts raise."""
    descriptions, _, errors = PAGE.partition("\n## Errors\n")
    listed = set(re.findall(r"^\| (\w{5}) \|", errors, re.MULTILINE))
    named = {
        code
        for line in re.findall(r"^Errors: .*", descriptions, re.MULTILINE)
        for code in SQLSTATE.findall(line)
    }
    raised = set()
    for script in ROOT.glob("sql/*.sql"):
        raised |= {sqlstate(name) for name in RAISED.findall(script.read_text())}
    assert len(named) > 10 and len(raised) > 5
    assert named | raised <= listed
