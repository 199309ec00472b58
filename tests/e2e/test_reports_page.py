"""docs/reports.md: its queries find what they say, and the script for the help desk helps."""

import re
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet

from client import Client, Traveller
from cluster import ROOT, Cluster
from conftest import install
from key_file import key_id

PAGE = (ROOT / "docs/reports.md").read_text()
SCRIPT = ROOT / "contrib/help_desk/help_desk.sql"
# By section: the statements of its blocks, in order.
STATEMENTS = {
    section.partition("\n")[0]: [
        statement
        for block in re.findall(r"^```sql\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        for statement in block.strip().removesuffix(";").split(";\n")
    ]
    for section in PAGE.split("\n## ")[1:]
}
USERS = """
CREATE TABLE users (login text PRIMARY KEY, team text);
INSERT INTO users VALUES
    ('ann', 'red'), ('bob', 'red'), ('cat', 'blue'), ('dan', 'blue'), ('eve', 'green');
CREATE ROLE support LOGIN IN ROLE totp_admin;
CREATE ROLE auditor LOGIN IN ROLE totp_auditor;
GRANT SELECT ON users TO auditor, support;
"""


@pytest.fixture
def server():
    with Cluster(settings={"totp.recovery_delay": "1d"}) as cluster:
        install(cluster, "postgres")
        cluster.execute(USERS)
        yield cluster


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@pytest.fixture
def report(server):
    """A function that returns the rows of the statements of a section, as an auditor."""
    with closing(server.connect("auditor")) as connection:
        client = Client(connection)

        def run(section):
            return [[tuple(row) for row in client.rows(text)] for text in STATEMENTS[section]]

        yield run


def test_every_statement_belongs_to_a_tested_section():
    tested = ["Who is enrolled", "Who needs help", "Keys", "What administrators did"]
    assert [section for section, found in STATEMENTS.items() if found] == tested
    assert sum(map(len, STATEMENTS.values())) == PAGE.count("SELECT") - PAGE.count("(SELECT")


def test_who_is_enrolled(dba, report):
    for account in ("ann", "cat", "dan", "gone"):
        dba.enrol(account)
    dba.create("bob")
    by_team, missing, orphans = report("Who is enrolled")
    assert by_team == [("green", 1, 0, 0), ("red", 2, 1, 50), ("blue", 2, 2, 100)]
    assert missing == [("green", "eve", False), ("red", "bob", True)]
    assert [row[0] for row in orphans] == ["gone"]


def test_who_needs_help(server, dba, report):
    people = {name: dba.enrol(name) for name in ("ann", "bob", "cat", "dan", "eve")}
    assert report("Who needs help")[:4] == [[], [], [], []]
    dba.fail(people["ann"], 5)
    dba.execute("SET totp.max_failures = 100; SET totp.suspend_after = 3")
    dba.fail(people["bob"], 3)
    for code in people["cat"].backup_codes[:8]:
        assert dba.backup_verify("cat", code)
    assert not dba.recover(dba.recovery("dan"))
    dba.execute("UPDATE totp.factors SET drift = -3 WHERE account = 'eve'")
    with closing(server.connect()) as connection:
        past = Traveller(connection)
        past.travel(dba.now - timedelta(days=100).total_seconds())
        past.enrol("old")
    locked, few, waiting, drifting, drifts, absent = report("Who needs help")
    assert [(row[0], row[2] is not None, row[3]) for row in locked] == [
        ("ann", True, False),
        ("bob", False, True),
    ]
    assert few == [("cat", 2)]
    assert [row[0] for row in waiting] == ["dan"]
    assert drifting == [("eve", "default", -3)]
    assert drifts == [(-3, 1), (0, 5)]
    assert [row[0] for row in absent] == ["old"]


def test_age_of_keys(server, dba, report):
    dba.enrol("ann")
    path = server.data_dir / "totp.keys"
    old = path.read_text().split()[-1]
    new = Fernet.generate_key().decode()
    path.write_text(f"{new}\n{old}\n")
    dba.create("bob")
    ((first, second),) = report("Keys")
    assert first[:4] == (key_id(new), True, True, 1)
    assert second[:4] == (key_id(old), False, True, 2)
    assert all(timedelta(0) <= row[4] < timedelta(minutes=5) for row in (first, second))


def test_what_administrators_did(server, dba, report):
    dba.fail(dba.enrol("ann"), 5)
    with closing(server.connect("support")) as connection:
        Client(connection).call("totp_unlock", account="ann", reason="ticket 7")
    done, locks = report("What administrators did")
    first, last = (row[1:] for row in done)
    assert first == ("postgres", "key_generate", "", None)
    assert last == ("support", "unlock", "ann", "ticket 7")
    assert [row[1:] for row in locks] == [(1, 1)]


# The script


@pytest.fixture
def help_desk(server):
    """A function that runs the script, with lines for its questions."""

    def run(*lines, account=None):
        options = ["--no-psqlrc", "--username=support", "--dbname=postgres", f"--file={SCRIPT}"]
        if account is not None:
            options.append(f"--set=account={account}")
        return server.run("psql", *options, text="".join(f"{line}\n" for line in lines))

    return run


def last_entry(dba):
    row = dba.row("SELECT * FROM totp.audit_log ORDER BY id DESC LIMIT 1")
    return row.event, row.actor, row.account, (row.detail or {}).get("reason")


def test_the_help_desk_issues_a_pass(dba, help_desk):
    dba.enrol("ann")
    output = help_desk("pass", "ticket 6, called back", account="ann")
    (code,) = re.findall(r"^ (\w{4}(?:-\w{4}){3})$", output, re.MULTILINE)
    assert last_entry(dba) == ("pass_issue", "support", "ann", "ticket 6, called back")
    assert dba.backup_verify("ann", code)
    assert not dba.backup_verify("ann", code)


def test_the_help_desk_issues_codes(dba, help_desk):
    ann = dba.enrol("ann")
    output = help_desk("codes", "ticket 7, called back", account="ann")
    assert "enabled" in output and "default" in output and "confirm" in output
    codes = re.findall(r"^ (\w{4}(?:-\w{4}){3})$", output, re.MULTILINE)
    assert len(codes) == 10
    assert last_entry(dba) == ("reissue", "support", "ann", "ticket 7, called back")
    assert not dba.backup_verify("ann", ann.backup_codes[0])
    assert dba.backup_verify("ann", codes[0])


def test_the_help_desk_resets_an_account(dba, help_desk):
    # A name and a reason with quotes, which are not SQL.
    account, reason = 'o\'neil "x" :y', "it's 'gone'; DROP TABLE users"
    dba.enrol(account)
    output = help_desk(account, "reset", reason)
    assert "All devices and codes were removed" in output
    assert not dba.is_enabled(account)
    assert last_entry(dba) == ("reset", "support", account, reason)


def test_the_help_desk_lifts_a_lock_and_cancels_a_recovery(dba, help_desk):
    person = dba.enrol("ann")
    dba.fail(person, 5)
    assert "is unlocked" in help_desk("unlock", "ticket 8", account="ann")
    assert dba.status("ann").failures == 0
    token = dba.recovery("ann")
    assert not dba.recover(token)
    assert "was canceled" in help_desk("cancel", account="ann")
    assert dba.status("ann").recovery_at is None
    assert "no recovery" in help_desk("cancel", account="ann")


def test_the_help_desk_changes_nothing_without_a_choice_a_reason_or_an_account(dba, help_desk):
    dba.enrol("ann")
    before = dba.rows("SELECT * FROM totp.audit_log ORDER BY id")
    assert "no such account" in help_desk("reset", "ticket 9", account="Ann")
    for choice in ("", "nothing", "RESET", "reset'", "1"):
        assert "Nothing was changed" in help_desk(choice, "ticket 9", account="ann")
    for reason in ("", "no"):
        with pytest.raises(RuntimeError, match="reason"):
            help_desk("reset", reason, account="ann")
    assert dba.rows("SELECT * FROM totp.audit_log ORDER BY id") == before
    assert dba.is_enabled("ann")
