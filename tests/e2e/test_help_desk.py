"""Temporary passes: docs/help-desk.md, and what only a server shows."""

import re
from concurrent.futures import ThreadPoolExecutor

from cryptography.fernet import Fernet

from client import Client
from cluster import ROOT
from conftest import DATABASE, install
from leak import backup_code_forms, found
from refusal import NOT_ALLOWED, denied, refused

PAGE = (ROOT / "docs" / "help-desk.md").read_text()
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def issue(client, account, **options):
    return client.call("pass_issue", account=account, reason="a test", **options)[0]


def test_every_sql_block_runs_and_answers_what_the_page_says(cluster, other_database):
    install(cluster, other_database)
    options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    text = "\n".join(SQL_BLOCKS)
    output = cluster.run("psql", *options, "--dbname", other_database, text=text).splitlines()
    assert "t|pass" in output and "t" in output
    trail = [line.split("|")[2:4] for line in output if line.count("|") == 5]
    assert trail == [["pass_issue", "ok"], ["verify", "ok"], ["pass_revoke", "ok"]]


def test_a_pass_completes_a_login_in_two_steps(app, dba, account):
    app.enrol(account)
    answer = app.answer(app.challenge(account), issue(dba, account))
    assert (answer.verified, answer.method, answer.label) == (True, "pass", None)


def test_a_pass_makes_no_device_trusted(app, dba, account):
    app.create(account)
    assert app.backup_verify(account, issue(dba, account)) is True
    with refused(NOT_ALLOWED):
        app.trust(account)


def test_a_pass_switches_two_factor_authentication_off_like_a_backup_code(app, dba, account):
    app.enrol(account)
    code = issue(dba, account, uses=2)
    assert app.disable(account, code) is True
    assert app.backup_verify(account, code) is False
    dba.call("totp_require", account=account, reason="a test")
    app.enrol(account)
    assert app.disable(account, issue(dba, account)) is False


def test_nobody_who_must_enrol_switches_it_off_with_a_pass(app, dba, account):
    dba.call("totp_require", account=account, reason="a test")
    code = issue(dba, account)
    app.create(account)
    assert app.disable(account, code) is False
    assert app.value("SELECT pending FROM totp.totp_status(%s)", account) is True
    assert app.backup_verify(account, code) is True


def test_of_many_uses_at_once_no_more_pass_than_were_granted(cluster, app, dba, account):
    """Each of them reserves a failure before it is compared: fewer calls than lock the account."""
    app.enrol(account)
    code = issue(dba, account, uses=2)

    def use(_):
        with cluster.connect("app", DATABASE) as connection:
            return Client(connection).backup_verify(account, code)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(use, range(4))) <= 2
    while app.backup_verify(account, code):
        pass
    left = dba.value("SELECT uses_left FROM totp.passes WHERE account = %s", account)
    used = "SELECT count(*) FROM totp.audit_log WHERE account = %s AND detail ->> 'method' = 'pass'"
    assert (left, dba.value(used, account)) == (0, 2)


def test_a_rollback_gives_a_use_back(app, dba, account):
    app.enrol(account)
    code = issue(dba, account)
    with app.connection.transaction(force_rollback=True):
        assert app.backup_verify(account, code) is True
    assert app.backup_verify(account, code) is True
    assert app.backup_verify(account, code) is False


def test_wrong_passes_lock_an_account_without_a_factor(app, dba, account):
    code = issue(dba, account)
    for _ in range(5):
        assert app.backup_verify(account, "0000-0000-0000-0000") is False
    verdict = app.attempt(account, code)
    assert (verdict.verified, verdict.reason) == (False, "locked")


def test_who_may_issue_a_pass(cluster, app, dba, stranger, account):
    for client in (app, stranger):
        with denied():
            issue(client, account)
    for role in ("auditor", "self_service"):
        with cluster.connect(role, DATABASE) as connection, denied():
            issue(Client(connection), account)
    with cluster.connect("administrator", DATABASE) as connection:
        assert len(issue(Client(connection), account)) == 19


def test_no_table_log_or_trail_shows_a_pass(cluster, app, dba, account, tmp_path):
    app.enrol(account)
    code = issue(dba, account, uses=2)
    assert app.backup_verify(account, code) is True
    dump = tmp_path / "dump"
    dump.write_text(cluster.run("pg_dump", "--schema", "totp", DATABASE))
    rows = dba.rows("SELECT p::text FROM totp.passes AS p WHERE account = %s", account)
    seen = tmp_path / "seen"
    seen.write_text(f"{dump.read_text()}{rows}{cluster.log}")
    assert found({account.encode()}, seen)
    assert not found(backup_code_forms(code), seen)


def test_a_pass_whose_key_is_gone_is_no_pass(app, dba, account, key_file):
    """And no error: the backup codes of an account are not affected by it."""
    old = "\n".join(key_file.keys)
    new = Fernet.generate_key().decode()
    code = issue(dba, account)
    key_file.write(f"{new}\n{old}")
    assert app.attempt(account, "0000-0000-0000-0000").reason == "invalid"
    person = app.enrol(account)
    dba.execute("UPDATE totp.factors SET last_used_at = NULL WHERE account = %s", account)
    key_file.write(new)
    assert app.backup_verify(account, code) is False
    assert app.backup_verify(account, person.backup_codes[0]) is True
    key_file.restore()


def test_a_pass_is_not_copied_to_another_account(app, dba, account):
    """The ciphertext is bound to its account."""
    other = f"{account}-other"
    codes = {name: issue(dba, name) for name in (account, other)}
    dba.execute(
        """
        UPDATE totp.passes AS p SET salt = o.salt, sealed = o.sealed
        FROM totp.passes AS o WHERE p.account = %s AND o.account = %s
    """,
        account,
        other,
    )
    assert app.backup_verify(account, codes[other]) is False
    assert app.backup_verify(other, codes[other]) is True
