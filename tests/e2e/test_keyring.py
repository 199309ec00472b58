"""Where keys come from, and what happens without them: F0000, and never a wrong code."""

import os
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet

from authenticator import Authenticator
from client import Client
from cluster import until
from conftest import DATABASE
from key_file import key_id
from refusal import NO_KEY, NOT_ALLOWED, refused
from timing import assert_takes

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SPECIFICATION_KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="


def new_key():
    return Fernet.generate_key().decode()


def assert_no_key(client, person, without=()):
    """Whatever needs a key says F0000, with a right code and a wrong one, and counts nothing. Nobody
    learns where the key file is, or is told to make a new key."""
    phone, without = person.phone, [*without, "totp.keys", "key_generate"]
    for code in (phone.code(client.now, 1), phone.wrong(client.now), person.backup_codes[0]):
        for function in (client.attempt, client.disable, client.backup_rotate):
            with refused(NO_KEY, without=[code, *without]):
                function(person.account, code)
    with refused(NO_KEY, without=without):
        client.verify(person.account, phone.code(client.now, 1))
    with refused(NO_KEY, without=without):
        client.backup_verify(person.account, person.backup_codes[0])
    status = client.status(person.account)
    assert (status.enabled, status.failures, status.backup_codes_left) == (True, 0, 10)


def assert_no_new_secret(client, account, without=()):
    with refused(NO_KEY, without=without):
        client.create(account)
    assert not client.status(account).pending


def assert_key_is_back(client, person):
    """After all that nothing is spent and nothing is counted."""
    assert client.verify(person.account, person.phone.take(client.now)) is True
    assert client.backup_verify(person.account, person.backup_codes[0]) is True


def remove(file):
    file.remove()


def widen_to_group(file):
    file.mode = 0o640


def widen_to_world(file):
    file.mode = 0o604


def let_group_write(file):
    file.mode = 0o620


def turn_into_directory(file):
    file.remove()
    file.path.mkdir(mode=0o700)


def belong_to_nobody(file):
    file.write(*file.keys, owner=65534)


def point_nowhere(file):
    file.remove()
    file.path.symlink_to("/nonexistent/totp.keys")


TROUBLES = [
    remove,
    widen_to_group,
    widen_to_world,
    let_group_write,
    turn_into_directory,
    belong_to_nobody,
    point_nowhere,
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_without_a_usable_key_file_nothing_looks_like_a_wrong_code(app, account, key_file, trouble):
    person = app.enrol(account)
    keys = key_file.keys
    trouble(key_file)
    assert_no_key(app, person, without=keys)
    assert_no_new_secret(app, f"{account}-new", without=keys)
    key_file.restore()
    assert_key_is_back(app, person)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_new_session_says_the_same(cluster, app, account, key_file, trouble):
    person = app.enrol(account)
    trouble(key_file)
    with cluster.connect("app", DATABASE) as connection:
        assert_no_key(type(app)(connection), person)


def test_a_pending_factor_waits_for_the_key(app, account, key_file):
    phone = Authenticator(app.create(account).uri)
    key_file.remove()
    with refused(NO_KEY):
        app.confirm(account, phone.code(app.now))
    assert app.status(account).failures == 0
    key_file.restore()
    assert app.confirm(account, phone.take(app.now)).confirmed


def become_a_pipe(file):
    file.remove()
    os.mkfifo(file.path, 0o600)
    os.chown(file.path, file.owner, -1)


def grow_to_a_gigabyte(file):
    os.truncate(file.path, 2**30)


def be_unreadable(file):
    file.mode = 0


def be_empty(file):
    file.write()


def repeat_a_key(file):
    file.write("# twice", *file.keys * 2)


def begin_with_a_byte_order_mark(file):
    file.write("\ufeff" + file.keys[0])


def hold_a_word(file):
    file.write(*file.keys, "", "password")


def be_latin_1(file):
    file.path.write_bytes(b"# Schl\xfcssel\n" + file.keys[0].encode())


MESSAGES = {
    widen_to_group: "Its mode is 0640, which gives access to users other than its owner.",
    turn_into_directory: "It is a directory, a pipe or a device.",
    become_a_pipe: "It is a directory, a pipe or a device.",
    belong_to_nobody: "It is owned by another user.",
    grow_to_a_gigabyte: "It is larger than 65536 bytes.",
    be_unreadable: "The operating system reported: permission denied.",
    be_latin_1: "It is not UTF-8 text.",
    be_empty: "It contains no key.",
    repeat_a_key: "The key on line 3 repeats an earlier one.",
    begin_with_a_byte_order_mark: "It begins with a byte order mark.",
    hold_a_word: "Line 3 is not a Fernet key.",
}


@pytest.mark.parametrize("trouble", MESSAGES, ids=lambda trouble: trouble.__name__)
def test_each_flaw_of_a_key_file_has_its_message(app, dba, account, key_file, trouble):
    trouble(key_file)
    with refused(NO_KEY) as caught:
        app.create(account)
    diagnosis = caught.value.diag
    assert diagnosis.message_detail == MESSAGES[trouble]
    # Anybody may cause the error: only the setting is named, which a superuser can look up.
    assert "totp.key_file" in diagnosis.message_primary
    assert key_file.path.name not in str(caught.value)
    # Who asks before the first login is told the same.
    check = dba.row("SELECT * FROM totp.preflight() WHERE check_name = 'keyring'")
    said = f"{diagnosis.message_primary}: {diagnosis.message_detail}"
    assert (check.status, check.detail, check.hint) == ("fail", said, diagnosis.message_hint)


def test_a_symbolic_link_to_a_key_file_is_followed(app, account, key_file):
    person = app.enrol(account)
    target = key_file.path.rename(key_file.path.with_name("linked.keys"))
    key_file.path.symlink_to(target)
    assert_key_is_back(app, person)
    target.rename(key_file.path)


LINES = {
    "words": "correct horse battery staple",
    "a key cut short": SPECIFICATION_KEY[:-2],
    "a key too long": SPECIFICATION_KEY + "AAAA",
    "31 bytes": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    "33 bytes": "A" * 44,
    "other base64": "cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=",
    "no padding": SPECIFICATION_KEY[:-1],
    "two keys on a line": f"{SPECIFICATION_KEY} {SPECIFICATION_KEY}",
    "a comment behind the key": f"{SPECIFICATION_KEY} # old",
    "not ASCII": "ä" * 22,
    "NUL": "\0" * 44,
    "a byte order mark": "\ufeff" + SPECIFICATION_KEY,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
@pytest.mark.parametrize("place", ["only", "first", "last"])
def test_a_bad_line_makes_the_key_file_unusable(app, account, key_file, line, place):
    person = app.enrol(account)
    keys = key_file.keys
    key_file.write(*{"only": [line], "first": [line, *keys], "last": [*keys, line]}[place])
    assert_no_key(app, person, without=[*keys, line])
    assert_no_new_secret(app, f"{account}-new", without=[*keys, line])
    key_file.restore()
    assert_key_is_back(app, person)


@pytest.mark.parametrize("lines", [[], [""], ["# nothing here", "", "  "]], ids=repr)
def test_a_key_file_without_a_key_is_unusable(app, account, key_file, lines):
    person = app.enrol(account)
    key_file.write(*lines)
    assert_no_key(app, person)


def test_a_key_file_of_many_megabytes_is_unusable(app, account, key_file):
    person = app.enrol(account)
    key_file.write(*["# " + "x" * 1000] * 10_000, *key_file.keys)
    assert_no_key(app, person)


def test_a_key_file_may_have_comments_blanks_and_dos_line_ends(app, account, key_file):
    person = app.enrol(account)
    (key,) = key_file.keys
    key_file.write("# made in 2030\r", "", f"\t {key} \r", "   ", "#", f"# {new_key()}")
    assert_key_is_back(app, person)


def test_a_user_is_not_deleted_without_the_key(dba, account, key_file):
    dba.enrol(account)
    with dba.connection.transaction(force_rollback=True):
        dba.execute("CREATE TABLE leaving (id text)")
        dba.execute("INSERT INTO leaving VALUES (%s)", account)
        dba.execute(
            "CREATE TRIGGER forget AFTER DELETE ON leaving FOR EACH ROW"
            " EXECUTE FUNCTION totp.forget_account('id')"
        )
        key_file.remove()
        with refused(NO_KEY), dba.connection.transaction():
            dba.execute("DELETE FROM leaving")
        assert dba.is_enabled(account)
        key_file.restore()
        dba.execute("DELETE FROM leaving")
        assert not dba.is_enabled(account)


def test_a_missing_key_that_rows_need_is_named_by_its_id(app, account, key_file):
    person = app.enrol(account)
    old = key_file.keys[0]
    key_file.write(new_key())
    with refused(NO_KEY, without=[old]) as caught:
        app.verify(account, person.phone.wrong(app.now))
    assert key_id(old) in caught.value.diag.message_primary
    assert_no_key(app, person)
    key_file.restore()
    assert_key_is_back(app, person)


def test_a_missing_key_shuts_out_only_the_rows_that_need_it(app, dba, account, key_file):
    old, new = app.enrol(account), new_key()
    key_file.write(new, *key_file.keys)
    tablet = app.enrol(account, label="tablet")
    other = app.enrol(f"{account}-new")
    key_file.write(new)
    with refused(NO_KEY):
        app.verify(account, old.phone.take(app.now))
    assert app.verify(account, tablet.phone.take(app.now))
    assert app.verify(other.account, other.phone.take(app.now))


def test_preflight_and_key_status_name_the_keys_that_rows_need(app, dba, account, key_file):
    app.enrol(account)
    old, new = key_file.keys[0], new_key()
    status = "SELECT is_primary, in_keyring FROM totp.key_status WHERE key_id = %s"
    checks = "SELECT check_name, status, detail FROM totp.preflight()"

    def found():
        return {row.check_name: (row.status, row.detail) for row in dba.rows(checks)}

    # Other tests have left rows of keys that nobody has.
    for check in ("missing_keys", "key_rotation"):
        assert key_id(old) not in found()[check][1]
    key_file.write(new, old)
    assert key_id(old) not in found()["missing_keys"][1]
    assert found()["key_rotation"][0] == "warn" and key_id(old) in found()["key_rotation"][1]
    assert tuple(dba.row(status, key_id(old))) == (False, True)
    assert tuple(dba.row(status, key_id(new))) == (True, True)
    key_file.write(new)
    assert found()["missing_keys"][0] == "fail" and key_id(old) in found()["missing_keys"][1]
    assert tuple(dba.row(status, key_id(old))) == (False, False)
    # Without any keyring too.
    key_file.remove()
    assert found()["keyring"][0] == "fail"
    assert found()["missing_keys"][0] == "fail" and key_id(old) in found()["missing_keys"][1]
    with refused(NO_KEY):
        dba.rows("SELECT * FROM totp.key_status")


def test_new_rows_take_the_first_key_and_old_rows_keep_theirs(app, dba, account, key_file):
    person = app.enrol(account)
    (old,), new = key_file.keys, new_key()
    key_file.write(new, old)
    assert_key_is_back(app, person)
    other = app.enrol(f"{account}-new")
    query = "SELECT key_id FROM totp.factors WHERE account = %s"
    assert dba.value(query, account) == key_id(old)
    assert dba.value(query, other.account) == key_id(new)
    token = dba.value("SELECT sealed FROM totp.factors WHERE account = %s", other.account)
    assert Fernet(new).decrypt(token)
    # The order of the keys decides what is sealed, not what opens.
    key_file.write(old, new)
    assert app.verify(other.account, other.phone.take(app.now))


def test_a_running_session_takes_up_a_replaced_key_file(app, dba, account, key_file):
    query = "SELECT key_id FROM totp.factors WHERE account = %s"
    for n in range(5):
        key = new_key()
        key_file.write(key)
        app.create(f"{account}-{n}")
        assert dba.value(query, f"{account}-{n}") == key_id(key)


def test_a_running_session_takes_up_a_file_that_is_written_in_place(app, dba, account, key_file):
    query = "SELECT key_id FROM totp.factors WHERE account = %s"
    for n in range(5):
        key = new_key()
        key_file.path.write_text(f"{key}\n")
        app.create(f"{account}-{n}")
        assert dba.value(query, f"{account}-{n}") == key_id(key)


@pytest.fixture
def empty(cluster, other_database):
    """A superuser in a database with the extension and without a row."""
    cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    with cluster.connect(dbname=other_database) as connection:
        yield Client(connection)


def test_key_generate_makes_the_key_file_for_the_server_s_user_only(empty, key_file):
    key_file.remove()
    answer = empty.value("SELECT totp.key_generate()")
    (key,) = key_file.keys
    assert key_file.mode == 0o600
    assert key_file.path.stat().st_uid == key_file.owner
    Fernet(key)
    assert key not in answer


def test_key_generate_prints_a_new_key_when_there_is_a_file(empty, account, key_file):
    before = key_file.text
    keys = {empty.value("SELECT totp.key_generate()") for _ in range(3)}
    assert len(keys) == 3
    assert key_file.text == before
    # What is printed can be put in front of the others.
    person = empty.enrol(account)
    for key in keys:
        Fernet(key)
        key_file.write(key, *key_file.keys)
        Fernet(empty.value("SELECT totp.key_generate()"))
    assert_key_is_back(empty, person)


@pytest.mark.parametrize(
    "lose", [remove, point_nowhere, lambda file: file.write(new_key())], ids=["file", "link", "key"]
)
def test_key_generate_makes_no_key_while_rows_need_a_lost_one(empty, account, key_file, lose):
    person = empty.enrol(account)
    (old,) = key_file.keys
    lose(key_file)
    before = key_file.text if key_file.path.exists() else None
    with refused(NO_KEY, without=["totp.keys", "key_generate"]) as caught:
        empty.value("SELECT totp.key_generate()")
    diagnosis = caught.value.diag
    assert diagnosis.message_detail == f"Rows encrypted with key {key_id(old)}: 2."
    assert "Restore" in diagnosis.message_hint and "pg_upgrade" in diagnosis.message_hint
    assert (key_file.text if key_file.path.exists() else None) == before
    key_file.restore()
    assert_key_is_back(empty, person)
    # Backup codes alone count, too.
    empty.execute("DELETE FROM totp.factors")
    lose(key_file)
    with refused(NO_KEY):
        empty.value("SELECT totp.key_generate()")
    empty.execute("DELETE FROM totp.accounts")
    key_file.path.unlink(missing_ok=True)
    assert "move it out of the data directory" in empty.value("SELECT totp.key_generate()")


UNUSABLE = [widen_to_world, turn_into_directory, belong_to_nobody]


@pytest.mark.parametrize("trouble", UNUSABLE, ids=lambda trouble: trouble.__name__)
def test_key_generate_says_what_is_wrong_with_the_key_file(empty, account, key_file, trouble):
    empty.enrol(account)
    trouble(key_file)
    with refused(NO_KEY, without=["totp.keys"]) as caught:
        empty.value("SELECT totp.key_generate()")
    assert caught.value.diag.message_primary == "could not use the file named by totp.key_file"


def test_key_generate_that_cannot_write_says_so(cluster, empty, key_file):
    key_file.remove()
    cluster.configure(totp__key_file="/nonexistent/totp.keys")
    try:
        with refused(NO_KEY, without=["/nonexistent"]) as caught:
            empty.value("SELECT totp.key_generate()")
    finally:
        cluster.configure(totp__key_file=None)
    assert caught.value.diag.message_primary == "could not write the file named by totp.key_file"


def test_only_a_database_without_rows_is_told_to_make_a_key(cluster, empty, account, key_file):
    key_file.remove()
    calls = [
        (empty.create, account),
        (empty.challenge, account),
        (empty.is_trusted, account, "token"),
        (empty.value, "SELECT totp.challenge_account('token')"),
    ]
    hints = {True: set(), False: set()}

    def hear(is_new):
        for call, *arguments in calls:
            with refused(NO_KEY) as caught:
                call(*arguments)
            hints[is_new].add(caught.value.diag.message_hint)
        query = "SELECT hint FROM totp.preflight() WHERE check_name = 'keyring'"
        hints[is_new].add(empty.value(query))
        everything = "SELECT string_agg(hint || detail, '') FROM totp.preflight()"
        assert ("key_generate" in empty.value(everything)) is is_new

    hear(is_new=True)
    key_file.restore()
    empty.enrol(account)
    key_file.remove()
    hear(is_new=False)
    (new,), (restore,) = hints.values()
    assert "SELECT totp.key_generate()" in new and "other databases" in new
    assert "key_generate" not in restore and "pg_upgrade" in restore
    # Not even to those who may not read the tables.
    with refused(NO_KEY, without=["key_generate"]):
        empty.rows("SELECT * FROM totp.key_ids()")


@pytest.mark.parametrize("role", ["app", "stranger", "administrator", "auditor", "self_service"])
def test_key_generate_is_for_superusers(cluster, key_file, role):
    key_file.remove()
    with cluster.connect(role, DATABASE) as connection:
        with pytest.raises(Exception) as caught:
            connection.execute("SELECT totp.key_generate()")
        assert caught.value.sqlstate == NOT_ALLOWED
    assert not key_file.path.exists()


@pytest.fixture
def key_command(cluster):
    """A function that sets totp.key_command; it is not set afterwards."""
    yield lambda command: cluster.configure(totp__key_command=command)
    cluster.configure(totp__key_command=None)


def connected(cluster, app):
    return type(app)(cluster.connect("app", DATABASE))


def test_the_key_command_goes_before_the_key_file(
    cluster, app, dba, account, key_file, key_command
):
    one, two = new_key(), new_key()
    person = app.enrol(account)
    key_command(f"printf '%s\\n' '# from the vault' {one} {two} {key_file.keys[0]}")
    client = connected(cluster, app)
    assert_key_is_back(client, person)
    client.create(f"{account}-new")
    query = "SELECT key_id FROM totp.factors WHERE account = %s"
    assert dba.value(query, f"{account}-new") == key_id(one)


def test_a_running_session_takes_up_a_new_key_command(app, dba, account, key_command):
    query = "SELECT key_id FROM totp.factors WHERE account = %s"
    for n in range(3):
        key = new_key()
        key_command(f"echo {key}")
        app.create(f"{account}-{n}")
        assert dba.value(query, f"{account}-{n}") == key_id(key)


COMMANDS = {
    "fails": "exit 3",
    "prints a key and fails": f"echo {SPECIFICATION_KEY}; exit 1",
    "is not there": "/nonexistent/vault",
    "is no shell": "if (",
    "prints nothing": "true",
    "prints no key": "echo " + shlex.quote("no key today"),
    "prints garbage": "head -c 1000 /dev/urandom",
    "prints without end": "yes",
    "prints more than a keyring": "head -c 65537 /dev/zero | tr '\\0' '#'",
    "kills itself": "kill -9 $$",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_key_command_that_fails_is_an_error(app, account, key_file, key_command, command):
    person = app.enrol(account)
    key_command(command)
    assert_no_key(app, person, without=["no key today", SPECIFICATION_KEY])
    key_command(None)
    assert_key_is_back(app, person)


def processes_with(word):
    """The processes that have a word among their arguments."""
    return subprocess.run(["pgrep", "-f", word], stdout=subprocess.PIPE, check=False).stdout.split()


def all_of(items, number):
    return items if len(items) == number else None


@pytest.mark.timeout(120)
def test_a_key_command_that_does_not_end_is_ended_with_all_that_it_started(
    app, account, key_command
):
    # The shell waits for a process of its own.
    key_command("sleep 98765; true")

    def create():
        with refused(NO_KEY) as caught:
            app.create(account)
        assert caught.value.diag.message_detail == "It did not finish within 10 seconds."

    assert_takes(create, below=15, at_least=9)
    until(lambda: not processes_with("sleep 98765"), what="end of the command")


def test_a_call_that_waits_for_the_key_command_can_be_cancelled(cluster, account, key_command):
    key_command("sleep 87654; true")
    with cluster.connect("app", DATABASE) as connection, ThreadPoolExecutor() as pool:
        call = pool.submit(connection.execute, "SELECT totp.totp_create(%s)", [account])
        # The shell, and what it waits for.
        processes = until(lambda: all_of(processes_with("sleep 87654"), 2), what="the command")
        connection.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            call.result(timeout=10)
    # They were waited for: process 1, which may be PostgreSQL, hears nothing of them.
    assert not [pid for pid in processes if Path(f"/proc/{pid.decode()}").exists()]


def test_a_key_command_ends_with_its_server_process(cluster, account, key_command):
    key_command("sleep 76543; true")
    connection = cluster.connect("app", DATABASE)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(connection.execute, "SELECT totp.totp_create(%s)", [account])
        until(lambda: processes_with("sleep 76543"), what="the command")
        with cluster.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        # The connection ends too: nobody else holds it open.
        with pytest.raises(psycopg.OperationalError):
            call.result(timeout=10)
    until(lambda: not processes_with("sleep 76543"), what="end of the command")


def test_a_key_command_inherits_no_open_file(cluster, app, account, key_command, key_file):
    keys = shlex.quote(str(key_file.path))
    key_command(f"ls /proc/self/fd > open_files; cat {keys}")
    connected(cluster, app).create(account)
    # The last one is the directory that ls reads.
    assert (cluster.data_dir / "open_files").read_text().split() == ["0", "1", "2", "3"]


def test_what_a_key_command_complains_of_is_in_the_server_s_log(cluster, app, account, key_command):
    # As scripts write it, by the name of the file.
    key_command(f"echo {SPECIFICATION_KEY}; echo the vault is sealed > /dev/stderr; exit 1")
    before = len(cluster.log)
    with refused(NO_KEY, without=["sealed"]):
        app.create(account)
    until(lambda: "totp.key_command: the vault is sealed" in cluster.log[before:], what="it")
    assert SPECIFICATION_KEY not in cluster.log[before:]


def test_what_a_cancelled_key_command_complained_of_is_in_the_log(cluster, account, key_command):
    key_command("echo the vault does not answer >&2; sleep 65432; true")
    before = len(cluster.log)
    with cluster.connect("app", DATABASE) as connection:
        connection.execute("SET statement_timeout = '2s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT totp.totp_create(%s)", [account])
    assert "totp.key_command: the vault does not answer" in cluster.log[before:]


def test_the_statement_is_not_logged_with_the_complaint(
    cluster, dba, account, key_command, key_file
):
    keys = shlex.quote(str(key_file.path))
    key_command(f"cat {keys}; echo a newer version is there >&2")
    before = len(cluster.log)
    with cluster.connect(dbname=DATABASE) as connection:
        connection.execute(f"SELECT totp.totp_import('{account}', '{SECRET}')")
    until(lambda: "a newer version is there" in cluster.log[before:], what="the complaint")
    assert SECRET not in cluster.log[before:]


def test_a_key_that_a_key_command_complains_with_is_not_in_the_log(
    cluster, app, account, key_command, key_file
):
    keys = shlex.quote(str(key_file.path))
    before = len(cluster.log)
    key_command(f"cat {keys}; set -x; true $(cat {keys}); true told")
    connected(cluster, app).create(account)
    until(lambda: "+ true told" in cluster.log[before:], what="the trace of the shell")
    said = cluster.log[before:]
    assert "[left out]" in said
    for key in key_file.keys:
        assert key not in said and key[:40] not in said


def test_a_key_command_may_complain_without_end(cluster, app, account, key_command, key_file):
    keys = shlex.quote(str(key_file.path))
    before = len(cluster.log)
    key_command(f"yes 'all is well' | head -c 300000 >&2; cat {keys}")
    connected(cluster, app).create(account)
    until(lambda: "totp.key_command: all is well" in cluster.log[before:], what="the complaint")
    assert cluster.log[before:].count("all is well") < 500


PIPES = {
    "reopens its output": "cat {keys} > /dev/stdout",
    "reopens it by its number": "cat {keys} > /dev/fd/1",
    "appends to it": "cat {keys} >> /proc/self/fd/1",
    "writes it by dd": "dd if={keys} of=/dev/stdout status=none",
    "writes it slowly": "while read -r line; do sleep 0.2; echo $line; done < {keys}",
    "writes from a process of its own": "(sleep 0.3; cat {keys}) & wait",
    "is cut off by a pipe": "(cat {keys}; yes '#') | head -n 2000",
    "reads its input": "cat; cat {keys}",
    "writes to its errors too": "cat {keys}; echo done > /dev/stderr",
}


@pytest.mark.parametrize("command", PIPES.values(), ids=PIPES.keys())
def test_a_key_command_may_use_its_output_as_any_program_does(
    cluster, app, account, key_file, key_command, command
):
    person = app.enrol(account)
    key_command(command.format(keys=shlex.quote(str(key_file.path))))
    assert_key_is_back(connected(cluster, app), person)


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
def test_a_key_file_elsewhere_is_used(cluster, app, dba, account, key_file, is_absolute):
    directory = cluster.data_dir / "elsewhere"
    directory.mkdir()
    os.chown(directory, cluster.owner, -1)
    elsewhere = key_file.path.rename(directory / "other.keys")
    path = elsewhere if is_absolute else elsewhere.relative_to(cluster.data_dir)
    cluster.configure(totp__key_file=str(path))
    app.create(account)
    cluster.configure(totp__key_file=None)
    (key,) = [line for line in elsewhere.read_text().split() if len(line) == 44]
    assert dba.value("SELECT key_id FROM totp.factors WHERE account = %s", account) == key_id(key)
    shutil.rmtree(directory)
