"""The last release, with its own library and data of every kind, becomes this version.

Run by scripts/release-check, which builds that library."""

import json
import os
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import psycopg
import pytest

import audit_trail
from authenticator import Authenticator
from catalogue import differences, snapshot
from client import Client, Traveller
from cluster import Cluster, new_directory
from key_file import KeyFile
from old_release import scripts
from refusal import refused

OLD = os.environ["TOTP_OLD_VERSION"]
WRONG_VERSION = "55000"
ROLE = """
CREATE ROLE traveller LOGIN IN ROLE totp_app, totp_admin, totp_auditor;
GRANT SET ON PARAMETER totp.clock, totp.audit_accounts TO traveller;
"""
CLAIMS = json.dumps({"sub": "alice", "session_id": "of the old release"})
HARMLESS = {None, "unsealed"}
COLUMNS = (
    "at, account, event, outcome, actor, client, application, detail, origin, xid, key_id, mac"
)


@pytest.fixture(scope="module")
def library():
    """The directory of the old library, where the server may read it."""
    place = new_directory()
    shutil.copy(os.environ["TOTP_OLD_LIBRARY"], place / "totp.so")
    yield place
    shutil.rmtree(place)


@dataclass
class Old:
    """A server, and what its old release knew."""

    server: Cluster
    then: float
    people: SimpleNamespace
    tokens: SimpleNamespace
    entries: int
    # What happened on the way to this version.
    refusals: dict

    def client(self, moment):
        client = Traveller(self.server.connect("traveller"))
        client.travel(moment)
        return client


@pytest.fixture(scope="module")
def old(library):
    """The upgraded server, with what had been done before."""
    server = Cluster(settings={"dynamic_library_path": f"{library}:$libdir"})
    with scripts(), server:
        server.execute(f"CREATE EXTENSION totp VERSION '{OLD}'", "SELECT totp.key_generate()", ROLE)
        server.configure(totp__jwt_logins="traveller")
        old = fill(server)
        old.refusals["new script"] = error_of(server, "ALTER EXTENSION totp UPDATE")
        del server.settings["dynamic_library_path"]
        server.restart()
        client = old.client(old.then)
        for name, call in {
            "verify": lambda: client.verify("alice", old.people.alice.phone.code(client.now)),
            "status": lambda: client.status("alice"),
            "challenge": lambda: client.answer(old.tokens.challenge, "123456"),
        }.items():
            with refused(WRONG_VERSION) as caught:
                call()
            old.refusals[name] = str(caught.value)
        server.execute("ALTER EXTENSION totp UPDATE")
        yield old


def error_of(server, statement):
    with pytest.raises(psycopg.Error) as caught:
        server.execute(statement)
    return f"{caught.value.diag.sqlstate}: {caught.value}"


def fill(server):
    """Factors, codes, spent codes, tokens, sessions, locks and an audit trail."""
    client = Traveller(server.connect("traveller"))
    client.execute("SELECT set_config('request.jwt.claims', %s, false)", CLAIMS)
    people = SimpleNamespace(
        **{name: client.enrol(name) for name in ("alice", "bob", "carol", "erin")}
    )
    client.wait(60)
    tablet = client.enrol("alice", label="tablet").phone
    assert client.backup_verify("alice", people.alice.backup_codes[0])
    assert client.answer(client.challenge("erin"), people.erin.phone.take(client.now)).verified
    while not (status := client.status("carol")).suspended:
        if status.locked_until:
            client.travel(status.locked_until.timestamp() + 1)
        client.fail(people.carol, 1)
    client.execute("SET totp.audit_accounts = 'hash'")
    client.verify("bob", "000000")
    client.enrol("frank")
    client.execute("RESET totp.audit_accounts")
    # Time has passed: what expires is made now.
    people.tablet = tablet
    people.alice.spent = people.alice.phone.take(client.now)
    assert client.verify("alice", people.alice.spent)
    assert client.value("SELECT totp.totp_verified()")
    tokens = SimpleNamespace(
        challenge=client.challenge("alice"),
        recovery=client.recovery("erin"),
        trust=client.trust("alice"),
    )
    people.pending = Authenticator(client.create("dora").uri)
    client.fail(people.bob, 6)
    assert client.status("bob").locked_until
    (entries,) = client.row("SELECT count(*) FROM totp.audit_log")
    then = client.now
    client.connection.close()
    return Old(server, then, people, tokens, entries, {})


def test_neither_library_takes_the_other_script(old):
    """The new script says that the server has not been restarted. Nothing is changed by that."""
    assert old.refusals["new script"].startswith("55000: the library of totp that is loaded")
    assert "restart the server" in old.refusals["new script"]
    assert len(old.refusals) == 4


def test_the_catalogs_are_those_of_a_new_installation(old):
    with old.server.database("fresh"):
        old.server.execute("CREATE EXTENSION totp", dbname="fresh")
        with old.server.connect(dbname="fresh") as fresh, old.server.connect() as upgraded:
            found = differences(snapshot(upgraded), snapshot(fresh))
    assert not found, "\n".join(found)


def test_spent_codes_stay_spent_and_new_ones_work(old):
    client = old.client(old.then)
    alice = old.people.alice
    assert not client.verify("alice", alice.spent)
    assert not client.backup_verify("alice", alice.backup_codes[0])
    assert client.backup_verify("alice", alice.backup_codes[1])
    client.wait(60)
    assert client.verify("alice", alice.phone.take(client.now))
    assert client.attempt("alice", old.people.tablet.take(client.now)).label == "tablet"
    assert client.backup_remaining("alice") == 8


def test_locks_and_suspensions_stay(old):
    client = old.client(old.then)
    assert client.attempt("bob", old.people.bob.phone.code(client.now)).reason == "locked"
    client.travel(client.status("carol").locked_until.timestamp() + 1)
    assert client.attempt("carol", old.people.carol.phone.code(client.now)).reason == "suspended"
    assert client.backup_verify("carol", old.people.carol.backup_codes[0])


def test_tokens_and_pending_factors_work(old):
    client = old.client(old.then)
    assert client.is_trusted("alice", old.tokens.trust)
    client.wait(90)
    answer = client.answer(old.tokens.challenge, old.people.alice.phone.take(client.now))
    assert answer.verified and answer.account == "alice"
    assert client.recover(old.tokens.recovery)
    assert not client.is_enabled("erin")
    assert client.confirm("dora", old.people.pending.take(client.now)).confirmed


def test_a_verified_session_stays_verified(old):
    client = old.client(old.then)
    client.execute("SELECT set_config('request.jwt.claims', %s, false)", CLAIMS)
    assert client.value("SELECT totp.totp_verified()")


def test_the_old_trail_verifies_is_sealed_and_shows_tampering(old):
    with old.server.connect() as connection:
        superuser = Client(connection)
        problems = "SELECT DISTINCT problem FROM totp.audit_verify()"
        of_old = "SELECT count(*) FROM totp.audit_events WHERE key_id = ''"
        assert superuser.value(of_old) == old.entries
        assert {row.problem for row in superuser.rows(problems)} <= HARMLESS
        audit_trail.seal(superuser)
        assert {row.problem for row in superuser.rows(problems)} == {None}
        keys = audit_trail.verify.read_keys(KeyFile(old.server).path)
        entries, seals = audit_trail.entries(superuser), audit_trail.seals(superuser)
        assert list(audit_trail.verify.verify(entries, seals, keys=keys)) == []

        first = "(SELECT min(id) FROM totp.audit_events WHERE key_id = '')"
        for change in (
            f"UPDATE totp.audit_events SET outcome = 'other' WHERE id = {first}",
            f"UPDATE totp.audit_events SET account = 'x' WHERE id = {first}",
            f"DELETE FROM totp.audit_events WHERE id = {first}",
            f"""INSERT INTO totp.audit_events (id, {COLUMNS}) OVERRIDING SYSTEM VALUE
                SELECT 1000000, {COLUMNS} FROM totp.audit_events WHERE key_id = '' LIMIT 1""",
            # As one of today's, in columns that its signature does not cover.
            f"""INSERT INTO totp.audit_events (id, {COLUMNS}) OVERRIDING SYSTEM VALUE
                SELECT 1000000, at, account, event, outcome, actor, '192.0.2.1', application, detail,
                    (SELECT coalesce(nullif(max(origin), 0), 1) FROM totp.audit_events),
                    pg_current_xact_id()::text::bigint, key_id, mac
                FROM totp.audit_events WHERE key_id = '' LIMIT 1""",
        ):
            with connection.transaction(force_rollback=True):
                superuser.execute(change)
                found = {row.problem for row in superuser.rows(problems)} - {None}
                assert found & {"altered", "missing", "forged"}, change
                entries = audit_trail.entries(superuser)
                found = list(audit_trail.verify.verify(entries, seals, keys=keys))
                assert {problem for _, _, problem, _ in found} - {"unsealed"}, change


def test_hashed_accounts_of_the_old_trail_are_found(old):
    client = old.client(old.then)
    events = "SELECT event FROM totp.audit_log WHERE account = ANY (totp.audit_names('frank')) ORDER BY id"
    assert [row.event for row in client.rows(events)] == ["create", "confirm"]


def test_keys_can_be_rotated(old):
    keys = KeyFile(old.server)
    with old.server.connect() as connection:
        keys.path.write_text(
            Client(connection).value("SELECT totp.key_generate()") + "\n" + keys.text
        )
        connection.execute("CALL totp.key_rotate()")
        rows = Client(connection).rows("SELECT percent FROM totp.key_status WHERE is_primary")
        assert [row.percent for row in rows] == [100]
    client = old.client(old.then + 600)
    assert client.verify("alice", old.people.alice.phone.take(client.now))


def test_the_old_library_with_the_new_tables_lets_nobody_in(old, library):
    """Files of an older version than the extension: an error, never an accepted code."""
    server = old.server
    server.settings["dynamic_library_path"] = f"{library}:$libdir"
    server.restart()
    try:
        client = old.client(old.then + 1200)
        with pytest.raises(psycopg.errors.NotNullViolation):
            client.verify("alice", old.people.alice.phone.take(client.now))
        assert client.status("alice").enabled
        with pytest.raises(psycopg.errors.UndefinedFunction):
            server.execute("DROP EXTENSION totp CASCADE; CREATE EXTENSION totp")
    finally:
        del server.settings["dynamic_library_path"]
        server.restart()
