"""Seals, digests, checkpoints, proofs and prunes of the audit trail."""

import base64
import hashlib
import json
import re
import secrets
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import audit_trail
from audit_trail import verify
from client import Client
from cluster import until
from key_file import key_id
from refusal import refused

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def database(cluster):
    name = f"seal_{secrets.token_hex(4)}"
    with cluster.database(name):
        cluster.execute("CREATE EXTENSION totp", dbname=name)
        yield name


@pytest.fixture
def client(cluster, database):
    with closing(cluster.connect(dbname=database)) as connection:
        yield Client(connection)


def fill(client, seals=1, entries=3):
    """Makes seals of this many entries each, and returns the last one's number."""
    for _ in range(seals):
        for _ in range(entries):
            client.create(f"user-{secrets.token_hex(4)}")
        number = audit_trail.seal(client)
    return number


def test_without_entries_there_is_no_seal(client):
    assert client.value("SELECT totp.audit_seal()") is None
    for function in ("audit_digest", "audit_checkpoint", "audit_verifier_key"):
        with refused("55000"):
            client.value(f"SELECT totp.{function}()")
    assert audit_trail.findings(client) == ([], None)


def test_without_new_entries_there_is_no_new_seal(client):
    number = fill(client)
    assert client.value("SELECT totp.audit_seal()") == number
    assert len(audit_trail.seals(client)) == number


def test_seals_are_those_that_python_computes(client, key_file):
    fill(client, seals=3)
    with client.connection.transaction(force_rollback=True):
        client.create("rolled back")
    fill(client)
    entries, seals = audit_trail.entries(client), audit_trail.seals(client)
    keys = {key_id(key_file.keys[0]): verify.audit_key(key_file.keys[0])}
    previous = verify.NO_HASH
    for seal in seals:
        mine = [
            entry
            for entry in entries
            if entry["origin"] == seal["origin"]
            and seal["from_xid"] <= entry["xid"] < seal["to_xid"]
        ]
        assert len(mine) == seal["entries"]
        assert verify.bytea(seal["root"]) == verify.root([verify.entry_leaf(e) for e in mine])
        assert verify.bytea(seal["previous"]) == previous
        assert verify.is_signed(keys, verify.seal_message(seal), seal)
        assert (seal["first_at"], seal["last_at"]) == (mine[0]["at"], mine[-1]["at"])
        previous = verify.seal_hash(seal)
    assert sum(seal["entries"] for seal in seals) == len(entries)
    assert {entry["id"] for entry in entries} == ids_of(client)


def ids_of(client):
    """The IDs of all seals, as PostgreSQL reads the multirange."""
    query = """
        SELECT generate_series(lower(r), upper(r) - 1) FROM totp.seal_log, unnest(ids) AS r
    """
    return {row[0] for row in client.rows(query)}


def test_a_digest_is_that_of_azures_ledger(client):
    number = fill(client, seals=2)
    digest = client.value("SELECT totp.audit_digest()")
    *_, last = audit_trail.seals(client)
    assert digest.keys() == {
        *("database_name", "block_id", "hash", "last_transaction_commit_time", "digest_time")
    }
    assert digest["block_id"] == number
    assert digest["database_name"] == client.connection.info.dbname
    assert digest["hash"] == f"0x{verify.seal_hash(last).hex()}"
    time = datetime.fromisoformat(digest["last_transaction_commit_time"]).replace(tzinfo=UTC)
    assert time == datetime.fromisoformat(last["last_at"])


@pytest.mark.parametrize(
    "digests",
    ["1", '"x"', "{}", '{"block_id": 1}', '{"block_id": "1", "hash": "0x00"}', "[[]]"]
    + [json.dumps({"block_id": 1, "hash": hash}) for hash in ("0x00", "00" * 32, "0x" + "gg" * 32)],
)
def test_what_is_no_digest_is_refused(client, digests):
    with refused("22023"):
        audit_trail.findings(client, digests=digests)


def test_many_digests_are_checked_at_once(client):
    fill(client)
    digest = client.value("SELECT totp.audit_digest()")
    assert audit_trail.findings(client, digests=json.dumps([digest] * 1000)) == ([], 1)
    wrong = {**digest, "hash": digest["hash"][:-1] + ("0" if digest["hash"][-1] != "0" else "1")}
    found, last = audit_trail.findings(client, digests=json.dumps([digest, wrong]))
    assert found == [(1, None, "digest_mismatch")] and last is None
    gone = {**digest, "block_id": 99}
    assert audit_trail.findings(client, digests=json.dumps(gone))[0] == [
        (99, None, "digest_mismatch")
    ]


def opened(note, verifier_key):
    """The text of a note (C2SP signed-note) whose signature fits the key."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    name, hash, public = verifier_key.split("+", 2)
    public = base64.b64decode(public)
    assert public[0] == 1 and hashlib.sha256(name.encode() + b"\n" + public).hexdigest()[:8] == hash
    (line,) = signatures.splitlines()
    dash, signer, signature = line.split(" ")
    assert (dash, signer) == ("\u2014", name)
    signature = base64.b64decode(signature)
    assert signature[:4].hex() == hash
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text.encode())
    return text


def test_a_checkpoint_is_a_signed_note(client):
    fill(client, seals=5)
    note = client.value("SELECT totp.audit_checkpoint()")
    key = client.value("SELECT totp.audit_verifier_key()")
    hashes = [verify.seal_hash(seal) for seal in audit_trail.seals(client)]
    root = verify.root([verify.leaf(hash) for hash in hashes])
    name = f"totp-audit-{hashes[0].hex()[:16]}"
    assert opened(note, key) == f"{name}\n5\n{base64.b64encode(root).decode()}\n"
    with pytest.raises(InvalidSignature):
        opened(note.replace("\n5\n", "\n6\n"), key)


def test_a_proof_leads_from_an_entry_to_the_checkpoint(client):
    fill(client, seals=6, entries=7)
    note = client.value("SELECT totp.audit_checkpoint()")
    _, size, root, *_ = note.splitlines()
    for entry in audit_trail.entries(client):
        proof = client.value("SELECT totp.audit_proof(%s)", entry["id"])
        assert bytes.fromhex(proof["message"]) == verify.entry_message(entry)
        leaf = verify.leaf(
            bytes.fromhex(proof["message"]) + verify.encoded([bytes.fromhex(proof["mac"])])
        )
        path = [bytes.fromhex(hash) for hash in proof["path"]]
        (seal,) = (s for s in audit_trail.seals(client) if s["id"] == proof["seal"])
        found = verify.root_of_proof(proof["leaf_index"], proof["tree_size"], leaf, path)
        assert found == verify.bytea(seal["root"])
        message = bytes.fromhex(proof["seal_message"])
        assert message == verify.seal_message(seal) and found in message
        leaf = verify.leaf(hashlib.sha256(message).digest())
        path = [bytes.fromhex(hash) for hash in proof["seal_path"]]
        assert proof["checkpoint_size"] == int(size)
        found = verify.root_of_proof(proof["seal_index"], int(size), leaf, path)
        assert base64.b64encode(found).decode() == root


def test_what_is_not_sealed_has_no_proof(client):
    fill(client)
    client.create("new")
    (entry,) = audit_trail.entries(client, "account = 'new'")
    with refused("55000"):
        client.value("SELECT totp.audit_proof(%s)", entry["id"])
    for id in (0, 10**6, None):
        with refused("42704"):
            client.value("SELECT totp.audit_proof(%s)", id)


def test_what_is_left_after_a_prune_still_verifies(client):
    fill(client, seals=2)
    between = client.value("SELECT clock_timestamp()")
    fill(client, seals=2)
    removed = client.value("SELECT totp.audit_prune(%s, 'retention period')", between)
    assert removed == 6
    assert len(audit_trail.seals(client)) == 4
    *left, prune = audit_trail.entries(client)
    assert len(left) == 6
    assert prune["event"] == "audit_prune"
    hash = verify.seal_hash(audit_trail.seals(client)[1]).hex()
    assert prune["detail"] == {"seal": 2, "hash": hash, "entries": 6, "reason": "retention period"}
    expected = [(2, None, "pruned"), (None, prune["id"], "unsealed")]
    assert audit_trail.findings(client) == (expected, 4)
    audit_trail.seal(client)
    assert audit_trail.findings(client) == ([(2, None, "pruned")], 5)
    # The entry about it goes with a later prune, whose own entry stays.
    everything = client.value("SELECT clock_timestamp()")
    assert client.value("SELECT totp.audit_prune(%s, 'all of it')", everything) == 7
    audit_trail.seal(client)
    assert audit_trail.findings(client) == ([(5, None, "pruned")], 6)
    assert client.value("SELECT totp.audit_prune('-infinity', 'nothing')") == 0


def test_a_prune_is_in_the_trail_whatever_is_recorded(client):
    fill(client)
    client.execute("SET totp.audit = off")
    client.create("not recorded")
    assert client.value("SELECT totp.audit_prune(now() + interval '1 day', 'all of it')") == 3
    assert [entry["event"] for entry in audit_trail.entries(client)] == ["audit_prune"]


def test_entries_that_are_not_sealed_are_not_pruned(client):
    fill(client)
    client.create("new")
    assert client.value("SELECT totp.audit_prune(now() + interval '1 day', 'all of it')") == 3
    events = [entry["event"] for entry in audit_trail.entries(client)]
    assert events == ["create", "audit_prune"]


def test_a_seal_with_a_newer_entry_stays_and_so_do_those_after_it(client):
    """Even if the server's clock was set back in between."""
    client.execute("SET totp.clock = '2030-01-02'")
    client.create("first")
    audit_trail.seal(client)
    client.execute("SET totp.clock = '2030-01-01'")
    client.create("second")
    audit_trail.seal(client)
    client.execute("RESET totp.clock")
    prune = "SELECT totp.audit_prune(%s, 'a test')"
    assert client.value(prune, "2030-01-01 12:00+00") == 0
    assert client.value(prune, "2030-01-02 12:00+00") == 2


def test_a_prune_that_is_rolled_back_is_none(client):
    fill(client)
    with client.connection.transaction(force_rollback=True):
        client.value("SELECT totp.audit_prune(now() + interval '1 day', 'all of it')")
    assert audit_trail.findings(client) == ([], 1)


@pytest.mark.parametrize("reason", [None, "", "ab"])
def test_a_prune_needs_a_time_and_a_reason(client, reason):
    with refused("22023"):
        client.value("SELECT totp.audit_prune(now(), %s)", reason)
    with refused("22023"):
        client.value("SELECT totp.audit_prune(NULL, 'a reason')")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_that_may_be_old_makes_no_seal(client, level):
    client.create("alice")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction), client.connection.transaction():
        client.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        client.value("SELECT totp.audit_seal()")


def test_a_read_only_transaction_makes_no_seal(client):
    with refused("25006"), client.connection.transaction():
        client.execute("SET TRANSACTION READ ONLY")
        client.value("SELECT totp.audit_seal()")


def test_a_seal_delays_no_login(cluster, database, client):
    """Even in a transaction that stays open."""
    person = client.enrol("alice")
    with client.connection.transaction():
        client.value("SELECT totp.audit_seal()")
        with cluster.connect(dbname=database) as connection:
            other = Client(connection)
            other.execute("SET lock_timeout = '1s'")
            assert other.verify("alice", person.phone.code(other.now, 1))
            assert audit_trail.findings(other)[1] is None


def test_two_seals_at_once_are_made_one_after_another(cluster, database, client):
    for round in range(10):
        client.create(f"user-{round}")

        def seal():
            with cluster.connect(dbname=database) as connection:
                connection.execute("SELECT totp.audit_seal()")

        threads = [threading.Thread(target=seal) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    audit_trail.seal(client)
    found, last = audit_trail.findings(client)
    assert found == [] and last == len(audit_trail.seals(client))


def test_a_long_transaction_delays_only_the_entries_after_it(cluster, database, client):
    client.create("before")
    audit_trail.seal(client)
    with cluster.connect(dbname=database, autocommit=False) as connection:
        Client(connection).create("long")
        client.create("after")
        assert client.value("SELECT totp.audit_seal()") == 1
        connection.commit()
    audit_trail.seal(client)
    assert audit_trail.findings(client) == ([], 2)
    *_, seal = audit_trail.seals(client)
    assert seal["entries"] == 2


def test_an_entry_with_a_lower_number_than_a_seal_knows_of_is_sealed_later(
    cluster, database, client
):
    """The seal is made while its transaction, and one that began later, are not to be sealed yet."""
    client.create("before")
    with cluster.connect(dbname=database, autocommit=False) as connection:
        Client(connection).create("long")
        client.create("after")
        assert client.value("SELECT totp.audit_seal()") == 1
        connection.commit()
    assert audit_trail.seal(client) == 2
    assert audit_trail.findings(client) == ([], 2)
    assert [seal["entries"] for seal in audit_trail.seals(client)] == [1, 2]


@pytest.mark.parametrize("cache", [1, 50])
def test_an_entry_with_an_old_number_is_sealed_late(cluster, database, client, cache):
    """Numbers that a session holds in advance are not taken for those of earlier transactions."""
    client.execute(f"ALTER SEQUENCE totp.audit_events_id_seq CACHE {cache}")
    with cluster.connect(dbname=database) as connection:
        early = Client(connection)
        early.create("early")
        for round in range(4):
            fill(client)
            early.create(f"early {round}")
    audit_trail.seal(client)
    found, last = audit_trail.findings(client)
    assert found == [] and last == len(audit_trail.seals(client))
    assert sum(seal["entries"] for seal in audit_trail.seals(client)) == 4 * 3 + 5


def test_a_sequence_that_was_set_back_hides_no_entry(client):
    fill(client, seals=3)
    client.execute("SELECT setval('totp.audit_events_id_seq', 100)")
    fill(client)
    client.execute("SELECT setval('totp.audit_events_id_seq', 50)")
    fill(client)
    fill(client)
    found, last = audit_trail.findings(client)
    assert found == [] and last == 6


def test_a_restored_trail_is_sealed_on_and_verifies(cluster, database, client):
    """A dump has another database's transactions, whose numbers mean nothing here."""
    fill(client, seals=2)
    client.create("not sealed before the dump")
    dump = cluster.run("pg_dump", database)
    name = f"restored_{secrets.token_hex(4)}"
    with cluster.database(name):
        cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, text=dump)
        with closing(cluster.connect(dbname=name)) as connection:
            restored = Client(connection)
            restored.create("after the dump")
            assert audit_trail.seal(restored) == 4
            assert audit_trail.findings(restored) == ([], 4)
            assert [seal["entries"] for seal in audit_trail.seals(restored)] == [3, 3, 1, 1]
            origins = [seal["origin"] for seal in audit_trail.seals(restored)]
            assert origins[0] == origins[1] == origins[2] != origins[3]
            assert fill(restored) == 5
            assert audit_trail.findings(restored) == ([], 5)


def test_a_trail_that_was_restored_without_seals_is_sealed(cluster, database, client):
    fill(client)
    dump = cluster.run("pg_dump", database, "--exclude-table-data=totp.audit_seals")
    name = f"restored_{secrets.token_hex(4)}"
    with cluster.database(name):
        cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, text=dump)
        with closing(cluster.connect(dbname=name)) as connection:
            restored = Client(connection)
            restored.execute("DELETE FROM totp.audit_seals")
            audit_trail.seal(restored)
            assert audit_trail.findings(restored)[0] == []


def test_old_keys_still_verify_and_missing_ones_are_named(client, key_file):
    old = key_file.keys[0]
    fill(client)
    new = client.value("SELECT totp.key_generate()")
    key_file.write(new, old)
    fill(client)
    assert audit_trail.findings(client) == ([], 2)
    key_file.write(new)
    found, last = audit_trail.findings(client)
    assert {(seal, problem) for seal, _, problem in found} >= {(1, "key_missing")}
    assert last is None
    *_, detail = client.rows("SELECT DISTINCT detail FROM totp.audit_verify() WHERE id > 0")
    assert key_id(old) in detail[0]
    key_file.write(new, old)
    assert audit_trail.findings(client) == ([], 2)


def test_seals_after_the_removal_of_a_key_are_verified(client, key_file):
    """They contain the hash of those before, whose signatures can no longer be checked."""
    alarm = next(block for block in SQL_BLOCKS if "key_missing" in block)
    fill(client)
    new = client.value("SELECT totp.key_generate()")
    key_file.write(new, key_file.keys[0])
    assert fill(client) == 2
    key_file.write(new)
    assert audit_trail.findings(client)[1] is None
    assert client.rows(alarm) == []
    assert fill(client) == 3
    assert audit_trail.findings(client)[1] == 3
    assert client.rows(alarm) == []
    # An entry whose key never existed is none of those.
    client.create("forged")
    client.execute("""UPDATE totp.audit_events SET key_id = repeat('0', 16)
        WHERE id = (SELECT max(id) FROM totp.audit_events)""")
    assert [row[2] for row in client.rows(alarm)] == ["key_missing"]
    assert audit_trail.seal(client) == 4
    assert audit_trail.findings(client)[1] == 3
    assert [row[2] for row in client.rows(alarm)] == ["key_missing"]
    # Without the key, seals still show what was changed.
    client.execute("""UPDATE totp.audit_events SET actor = 'nobody'
        WHERE id = (SELECT min(id) FROM totp.audit_events)""")
    found, last = audit_trail.findings(client)
    assert (1, "altered") in {(seal, problem) for seal, _, problem in found}
    assert last is None
    assert (1, "altered") in {row[::2] for row in client.rows(alarm)}


def test_entries_of_subtransactions_are_sealed(client):
    with client.connection.transaction():
        client.create("outer")
        with client.connection.transaction():
            client.create("inner")
        with client.connection.transaction(force_rollback=True):
            client.create("undone")
    audit_trail.seal(client)
    assert [entry["account"] for entry in audit_trail.entries(client)] == ["outer", "inner"]
    assert audit_trail.findings(client) == ([], 1)


def test_entries_of_a_prepared_transaction_are_sealed_when_it_commits(client):
    client.create("before")
    assert audit_trail.seal(client) == 1
    client.execute("BEGIN")
    client.create("prepared")
    client.execute("PREPARE TRANSACTION 'audit'")
    client.create("after")
    assert client.value("SELECT totp.audit_seal()") == 1
    client.execute("COMMIT PREPARED 'audit'")
    assert audit_trail.seal(client) == 2
    assert audit_trail.findings(client) == ([], 2)
    assert len(audit_trail.entries(client)) == 3


def test_seals_survive_a_crash_of_the_writer(cluster, database, client):
    """A backend that is terminated after it wrote leaves no hole."""
    with closing(cluster.connect(dbname=database, autocommit=False)) as connection:
        Client(connection).create("killed")
        pid = connection.info.backend_pid
        client.value("SELECT pg_terminate_backend(%s)", pid)
        until(lambda: not client.rows("SELECT FROM pg_stat_activity WHERE pid = %s", pid))
    fill(client)
    assert audit_trail.findings(client) == ([], 1)
