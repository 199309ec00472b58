"""The signatures of the audit trail, as Python computes them from the key file: a peer."""

import hashlib
import hmac
import secrets

import pytest

import audit_trail
from audit_trail import verify
from client import Client
from conftest import DATABASE
from key_file import key_id

APPLICATION = "web shop"


@pytest.fixture
def trail(app, dba, account):
    """The entries of an account to which much has happened."""
    name = f'{account} ü"\\\n\x1f\x7f'
    person = app.enrol(name, label="phone")
    app.verify(name, person.phone.wrong(app.now))
    app.verify(name, person.phone.code(app.now, 1))
    app.backup_verify(name, person.backup_codes[0])
    dba.call("totp_reset", account=name, reason='she showed her passport: "ü"\t\b\f')
    return audit_trail.entries(dba, "account = %s", name)


def test_each_entry_has_the_signature_that_python_computes(trail, key_file):
    events = [entry["event"] for entry in trail]
    assert events == ["create", "confirm", *["verify"] * 3, "reset"]
    keys = {key_id(key_file.keys[0]): verify.audit_key(key_file.keys[0])}
    for entry in trail:
        assert verify.is_signed(keys, verify.entry_message(entry), entry)


CHANGES = {
    "id": 1,
    "at": "2001-01-01T00:00:00+00:00",
    "account": "another",
    "event": "unlock",
    "outcome": "replayed",
    "actor": "somebody",
    "client": "192.0.2.1",
    "application": "",
    "detail": {},
    "origin": 1,
    "xid": 3,
}


@pytest.mark.parametrize(("column", "value"), CHANGES.items())
def test_a_column_that_somebody_changed_does_not_fit_its_signature(trail, key_file, column, value):
    keys = {key_id(key_file.keys[0]): verify.audit_key(key_file.keys[0])}
    for entry in trail:
        message = verify.entry_message({**entry, column: value})
        assert not verify.is_signed(keys, message, entry)


def test_every_column_is_signed(dba):
    """Or is the signature itself, or names its key, without which it cannot be checked."""
    columns = dba.rows("""
        SELECT attname FROM pg_attribute
        WHERE attrelid = 'totp.audit_events'::regclass AND attnum > 0 AND NOT attisdropped
    """)
    assert {row.attname for row in columns} == CHANGES.keys() | {"key_id", "mac"}


def test_nobody_signs_without_the_key(trail, key_file):
    keys = {key_id(key_file.keys[0]): verify.audit_key(key_file.keys[0][::-1])}
    assert not any(verify.is_signed(keys, verify.entry_message(entry), entry) for entry in trail)


def test_an_entry_says_where_the_client_was(cluster, dba, account):
    """The server's own view of the connection is the peer."""
    with cluster.connect("app", DATABASE, application_name=APPLICATION) as connection:
        client = Client(connection)
        client.create(account)
        seen = client.row("SELECT host(inet_client_addr()) AS client, pg_backend_pid() AS pid")
    (entry,) = audit_trail.entries(dba, "account = %s", account)
    assert (entry["client"], entry["application"]) == (seen.client, APPLICATION)


def test_an_entry_over_tcp_has_the_address(cluster, dba, account):
    host = "127.0.0.1"
    with cluster.connect("app", DATABASE, host=host) as connection:
        Client(connection).create(account)
    (entry,) = audit_trail.entries(dba, "account = %s", account)
    assert entry["client"] == host


def test_an_entry_without_an_application_name_has_none(cluster, dba, account):
    with cluster.connect("app", DATABASE) as connection:
        client = Client(connection)
        client.execute("SET application_name = ''")
        client.create(account)
    (entry,) = audit_trail.entries(dba, "account = %s", account)
    assert entry["application"] is None


def test_an_entry_has_the_transaction_and_the_database(dba, account):
    with dba.connection.transaction():
        dba.create(account)
        xid = dba.value("SELECT pg_current_xact_id()::text::bigint")
    (entry,) = audit_trail.entries(dba, "account = %s", account)
    assert entry["xid"] == xid
    system, database = dba.row("""
        SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database())
        FROM pg_control_system()
    """)
    number = (system % 2**64).to_bytes(8, "big") + int(database).to_bytes(4, "big")
    origin = int.from_bytes(hashlib.sha256(number).digest()[:8], "big", signed=True)
    assert entry["origin"] == origin


def test_a_failure_that_locks_or_suspends_says_so(traveller, dba, account):
    person = traveller.enrol(account)
    for _ in range(3):
        traveller.fail(person, 1)
        traveller.wait(1)
    traveller.fail(person, 2)
    details = [entry["detail"] for entry in audit_trail.entries(dba, "account = %s", account)]
    assert details[-2:] == [None, {"locked_seconds": 30}]
    with dba.connection.transaction():
        dba.execute("UPDATE totp.accounts SET failures = 99 WHERE account = %s", account)
    traveller.wait(10_000)
    traveller.fail(person, 1)
    *_, last = audit_trail.entries(dba, "account = %s", account)
    assert last["detail"] == {"locked_seconds": 3600, "suspended": True}


def test_the_trail_of_a_hashed_account_is_found_by_its_names(dba, key_file, account):
    old = key_file.keys[0]
    with dba.connection.transaction(force_rollback=True):
        dba.execute("SET LOCAL totp.audit_accounts = hash")
        dba.create(account)
        new = dba.value("SELECT totp.key_generate()")
        key_file.write(new, old)
        dba.create(account, label="other")
        names = dba.value("SELECT totp.audit_names(%s)", account)
        entries = audit_trail.entries(dba, "account = ANY (%s)", names)
    assert names[0] == account
    hashed = [
        "hmac-sha256:"
        + hmac.new(
            hmac.digest(key.encode(), b"totp audit account", "sha256"), account.encode(), "sha256"
        ).hexdigest()
        for key in (new, old)
    ]
    # 0.1.0 wrote hashes without a key.
    assert names[1:] == [*hashed, f"sha256:{hashlib.sha256(account.encode()).hexdigest()}"]
    assert [entry["account"] for entry in entries] == [hashed[1], hashed[0]]


def test_a_generated_key_is_in_the_trail(dba, key_file):
    key = dba.value("SELECT totp.key_generate()")
    *_, entry = audit_trail.entries(dba, "event = 'key_generate'")
    assert (entry["account"], entry["detail"]) == ("", {"key_id": key_id(key)})
    assert key not in str(entry)


def test_ids_are_drawn_in_order(app, dba):
    """By one session, and no ID is drawn twice."""
    names = [f"{secrets.token_hex(8)}" for _ in range(20)]
    for name in names:
        app.create(name)
    ids = [entry["id"] for entry in audit_trail.entries(dba, "account = ANY (%s)", names)]
    assert ids == sorted(set(ids)) and len(ids) == 20
