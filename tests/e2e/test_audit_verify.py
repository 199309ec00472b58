"""audit_verify: on a standby, for part of the trail, and fast enough for a large one."""

import json
import os
import secrets
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import audit_trail
from audit_trail import verify
from client import Client
from cluster import Cluster
from conftest import install
from key_file import KeyFile, key_id

# How many entries the large trail has, and how long its verification may take. scripts/soak measures
# a million with the same limit.
ROWS = int(os.environ.get("TOTP_AUDIT_ROWS", "100000"))
SECONDS = 30
DAYS = ["2030-01-01", "2030-01-02", "2030-01-03", "2030-01-04"]


@pytest.fixture(scope="module")
def server():
    with Cluster(settings={"autovacuum": "off"}) as cluster:
        install(cluster, "postgres")
        yield cluster


@pytest.fixture
def client(server):
    name = f"verify_{secrets.token_hex(4)}"
    with server.database(name):
        server.execute("CREATE EXTENSION totp", dbname=name)
        with closing(server.connect(dbname=name)) as connection:
            yield Client(connection)


def test_a_standby_verifies(server):
    with closing(server.connect()) as connection:
        client = Client(connection)
        client.create("alice")
        audit_trail.seal(client)
        digest = json.dumps(client.value("SELECT totp.audit_digest()"))
        entry = audit_trail.entries(client)[-1]
        standby = server.standby()
        try:
            standby.wait_for_replay(server)
            with closing(standby.connect()) as other:
                reader = Client(other)
                assert audit_trail.findings(reader, digests=digest) == ([], 1)
                assert reader.value("SELECT totp.audit_digest() ->> 'block_id'") == "1"
                assert reader.value("SELECT totp.audit_checkpoint()")
                assert reader.value("SELECT totp.audit_proof(%s) ->> 'seal'", entry["id"]) == "1"
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    reader.value("SELECT totp.audit_seal()")
                client.execute(
                    "UPDATE totp.audit_events SET actor = 'x' WHERE id = %s", entry["id"]
                )
                standby.wait_for_replay(server)
                assert audit_trail.findings(reader) == ([(1, entry["id"], "altered")], None)
        finally:
            standby.destroy()


@pytest.fixture
def days(client):
    """A trail with a seal for each of several days."""
    for day in DAYS:
        client.execute("SELECT set_config('totp.clock', %s, false)", f"{day} 12:00+00")
        client.create(f"user of {day}")
        audit_trail.seal(client)
    client.execute("RESET totp.clock")
    return client


@pytest.mark.parametrize("changed", range(4))
def test_only_the_seals_of_the_given_time_are_read(days, changed):
    """A change is found if its day is in the range, and else is not."""
    days.execute(
        "UPDATE totp.audit_events SET actor = 'x' WHERE account = %s", f"user of {DAYS[changed]}"
    )
    for first in range(4):
        for last in range(first, 4):
            since, until = f"{DAYS[first]} 00:00+00", f"{DAYS[last]} 23:00+00"
            found, good = audit_trail.findings(days, since=since, until=until)
            if first <= changed <= last:
                assert [(seal, problem) for seal, _, problem in found] == [(changed + 1, "altered")]
                assert good == (changed if changed > first else None)
            else:
                assert (found, good) == ([], last + 1)
    found, _ = audit_trail.findings(days, since=f"{DAYS[changed]} 00:00+00")
    assert len(found) == 1
    found, _ = audit_trail.findings(days, until=f"{DAYS[changed]} 00:00+00")
    assert len(found) == 0


def test_the_chain_of_seals_is_checked_whatever_the_time(days):
    days.execute("UPDATE totp.audit_seals SET root = sha256('') WHERE id = 1")
    found, good = audit_trail.findings(days, since=f"{DAYS[3]} 00:00+00")
    assert (1, None, "altered") in found and good is None


def test_entries_that_are_not_sealed_count_by_their_time(days):
    days.create("now")
    found, good = audit_trail.findings(days, since=f"{DAYS[0]} 00:00+00")
    assert found == [] and good == 4
    found, good = audit_trail.findings(days, until=f"{DAYS[3]} 23:00+00")
    assert [problem for _, _, problem in found] == ["unsealed"] and good == 4


def test_an_auditor_seals_and_verifies_and_can_do_nothing_else(server, client):
    client.execute(f"CREATE ROLE auditor_{secrets.token_hex(4)} LOGIN IN ROLE totp_auditor")
    client.create("alice")
    (role,) = client.row("SELECT max(rolname) FROM pg_roles WHERE rolname LIKE 'auditor\\_%'")
    with closing(server.connect(role, client.connection.info.dbname)) as connection:
        auditor = Client(connection)
        audit_trail.seal(auditor)
        assert audit_trail.findings(auditor) == ([], 1)
        assert auditor.value("SELECT totp.audit_digest()")
        for statement in (
            "SELECT totp.audit_prune(now(), 'a reason')",
            "DELETE FROM totp.audit_seals",
            "DELETE FROM totp.audit_events",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                auditor.execute(statement)


def forged_copy(client, key, count):
    """Entries that a thief of the key signs and loads: a trail as large as he likes."""
    origin = audit_trail.entries(client)[0]["origin"]
    xid = client.value("SELECT pg_current_xact_id()::text::bigint")
    start = datetime(2030, 1, 1, tzinfo=UTC)
    signing = verify.audit_key(key)
    # What does not differ between entries is encoded once.
    sample = {
        "id": 0,
        "at": start.isoformat(),
        "account": "user-0123456789abcdef",
        "event": "verify",
        "outcome": "ok",
        "actor": "app",
        "client": "192.0.2.1",
        "application": "web shop",
        "detail": {"method": "totp", "label": "default"},
        "origin": origin,
        "xid": xid,
        "key_id": key_id(key),
    }
    message = verify.entry_message(sample)
    head = verify.encoded([b"totp event v1"])
    tail = message[len(head) + 32 :]
    micros = int(start.timestamp()) * 1_000_000
    columns = ", ".join([*sample, "mac"])
    fixed = "\t".join(
        str(sample[name])
        for name in ("account", "event", "outcome", "actor", "client", "application")
    )
    detail = json.dumps(sample["detail"])
    end = f"{fixed}\t{detail}\t{origin}\t{xid}\t{key_id(key)}"
    with client.connection.cursor().copy(f"COPY totp.audit_events ({columns}) FROM STDIN") as copy:
        for begin in range(0, count, 1000):
            lines = []
            for n in range(begin, min(begin + 1000, count)):
                id = 1_000 + n
                at = start + timedelta(milliseconds=n)
                body = head + verify.encoded(
                    [verify.integer(id), verify.integer(micros + n * 1000)]
                )
                mac = verify.hmac.digest(signing, body + tail, "sha256").hex()
                lines.append(f"{id}\t{at.isoformat()}\t{end}\t\\\\x{mac}\n")
            copy.write("".join(lines))
    client.execute("ANALYZE totp.audit_events")


@pytest.mark.timeout(300)
def test_a_large_trail_is_verified_in_time(server, client):
    """With progress; one that was changed is found among them."""
    client.create("alice")
    key = KeyFile(server).keys[0]
    forged_copy(client, key, ROWS)
    notices = []
    client.connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    began = time.monotonic()
    audit_trail.seal(client)
    sealed = time.monotonic() - began
    began = time.monotonic()
    found, last = audit_trail.findings(client)
    seconds = time.monotonic() - began
    print(f"{ROWS} entries sealed in {sealed:.1f} s, verified in {seconds:.1f} s")
    assert (found, last) == ([], 1)
    assert seconds < SECONDS
    if seconds > 1.5:
        assert notices and all("entries" in notice for notice in notices)
    id = 1_000 + ROWS // 2
    client.execute("UPDATE totp.audit_events SET outcome = 'x' WHERE id = %s", id)
    assert audit_trail.findings(client) == ([(1, id, "altered")], None)
