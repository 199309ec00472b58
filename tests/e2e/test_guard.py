"""The shared memory that remembers what a ROLLBACK undid: how full it gets, and what it keeps."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from client import Client, Traveller
from cluster import Cluster
from conftest import install, new_account
from forge import forge

SLOTS = 1024
# As many for each slot as 1,000,000 accounts are for each of the 65,536 slots of the default.
CROWD = SLOTS * 1_000_000 // 65_536 + 1
LIMIT = 5
HOUR = 3600


@pytest.fixture(scope="module")
def small():
    """A cluster with as little memory as can be set."""
    with Cluster(settings={"totp.guard_slots": str(SLOTS), "autovacuum": "off"}) as cluster:
        install(cluster, cluster.new_database("one"))
        # The tables of a copy have the same object ids.
        cluster.new_database("two", template="one")
        yield cluster


@pytest.fixture
def empty(small):
    """The same cluster after a restart: nobody loses the slot of an account of an earlier test."""
    small.restart()
    return small


@pytest.fixture(scope="module")
def clock():
    """The time on this module's clock: it only goes on, as entries of the past make room."""
    return {"now": Traveller.START}


@pytest.fixture
def client(small, clock):
    """A superuser whose clock has gone on until nothing of an earlier test matters."""
    clock["now"] += 100 * HOUR
    with closing(small.connect(dbname="one")) as connection:
        client = Traveller(connection)
        client.travel(clock["now"])
        client.execute("SET totp.audit = off")
        yield client
        clock["now"] = client.now


def guard(client):
    return client.row("SELECT * FROM totp.guard_status")


def attack(cluster, client, names, *settings, end="ROLLBACK"):
    """One wrong code for each account of a name, in two sessions, each in one transaction. How
    many attempts ended in which way."""
    query = """
        SELECT verdict.reason, count(*)
        FROM totp.accounts AS a, LATERAL totp.totp_attempt(a.account, '1234567') AS verdict
        WHERE a.account LIKE %s AND abs(hashtext(a.account)) %% 2 = %s GROUP BY verdict.reason
    """

    def run(half):
        with closing(cluster.connect(dbname="one")) as connection:
            attacker = Traveller(connection)
            attacker.travel(client.now)
            for setting in ("totp.audit = off", *settings):
                attacker.execute(f"SET {setting}")
            attacker.execute("BEGIN")
            reasons = attacker.rows(query, f"{names}-%", half)
            attacker.execute(end)
            return Counter(dict(reasons))

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(run, (0, 1)), Counter())


def crowd(cluster, number):
    """Accounts that all have one secret: the begin of their names, and the app."""
    name = new_account()
    return name, forge(cluster, "one", [f"{name}-{n}" for n in range(number)])


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
def test_a_flood_of_attacked_accounts_lifts_no_lock(small, client, end):
    victim = client.enrol(new_account())
    client.execute("SET totp.lockout = '1h'")
    client.execute("BEGIN")
    client.fail(victim, LIMIT)
    client.execute("ROLLBACK")
    before = guard(client)
    names, _ = crowd(small, CROWD)
    assert attack(small, client, names, end=end) == {"invalid": CROWD}
    after = guard(client)
    assert after.slots == SLOTS
    assert after.evictions - before.evictions >= CROWD - SLOTS
    client.wait(HOUR - 1)
    code = victim.phone.code(client.now, 1)
    assert client.attempt(victim.account, code).reason == "locked"
    client.wait(1)
    assert client.verify(victim.account, code)


def test_a_full_memory_refuses_and_never_allows(small, client):
    names, phone = crowd(small, 3 * SLOTS)
    reasons = attack(small, client, names, "totp.max_failures = 1")
    assert reasons["invalid"] + reasons["locked"] == 3 * SLOTS
    assert 0.9 * SLOTS < reasons["invalid"] <= SLOTS
    # No account gets a second attempt, and none that was refused gets a first.
    assert attack(small, client, names, "totp.max_failures = 1") == {"locked": 3 * SLOTS}
    client.execute("SET totp.max_failures = 1")
    for place in range(20):
        verdict = client.attempt(f"{names}-{place}", phone.code(client.now))
        assert (verdict.verified, verdict.reason) == (False, "locked")
        assert 0 < verdict.retry_after.total_seconds() <= 30
    client.wait(30)
    for place in range(20):
        assert client.verify(f"{names}-{place}", phone.code(client.now))


def test_a_lock_holds_in_a_full_memory_and_moves_over_when_it_ends(small, client):
    names, phone = crowd(small, 2 * SLOTS)
    client.execute("SET totp.max_failures = 1")
    attack(small, client, names, "totp.max_failures = 1", "totp.lockout = '1h'")
    others, _ = crowd(small, 100)
    late = attack(small, client, others, "totp.max_failures = 1")
    assert late["locked"] > 50
    client.wait(HOUR)
    assert attack(small, client, others, "totp.max_failures = 1") == {"invalid": 100}
    assert client.verify(f"{names}-0", phone.code(client.now))


def test_logins_leave_nothing_behind_in_memory(small, client):
    names, phone = crowd(small, SLOTS + 100)
    before = guard(client)
    code = phone.code(client.now)
    # Had each left an entry that must stay, there would be no room for the last ones.
    assert all(client.verify(f"{names}-{place}", code) for place in range(SLOTS + 100))
    assert guard(client).used <= before.used


def test_unknown_accounts_get_no_room(small, client):
    before = guard(client)
    for function, code in [("totp_verify", "000000"), ("backup_verify", "0000-0000-0000-0000")]:
        guesses = (
            f"SELECT count(totp.{function}('nobody-' || n, %s)) FROM generate_series(1, 200) n"
        )
        assert client.value(guesses, code) == 200
    assert guard(client) == before


def test_the_view_counts_accounts_locks_and_what_was_rolled_back(empty, client):
    people = [client.enrol(new_account()) for _ in range(3)]
    before = guard(client)
    client.fail(people[0], 1)
    client.fail(people[1], LIMIT)
    after = guard(client)
    assert (after.used - before.used, after.rolled_back - before.rolled_back) == (2, 0)
    client.execute("BEGIN")
    client.fail(people[2], 3)
    client.execute("ROLLBACK")
    after = guard(client)
    assert (after.used - before.used, after.rolled_back - before.rolled_back) == (3, 3)
    client.wait(60)
    for person in people:
        assert client.verify(person.account, person.phone.code(client.now))
    assert guard(client).used == before.used == 0


def test_the_view_counts_locks_by_the_clock_of_the_server(small):
    with closing(small.connect(dbname="one")) as connection:
        client = Client(connection)
        person, before = client.enrol(new_account()), guard(client).locked
        client.fail(person, LIMIT)
        assert guard(client).locked == before + 1
        client.fail(person, 1)
        assert guard(client).locked == before + 1


# Installations


def copy_account(cluster, account, source, target):
    """Copies the rows of an account from one database to another."""
    for table in ("accounts", "factors"):
        with (
            cluster.connect(dbname=source) as reader,
            cluster.connect(dbname=target) as writer,
            reader.cursor().copy(
                f"COPY (SELECT * FROM totp.{table} WHERE account = '{account}') TO STDOUT"
            ) as rows,
            writer.cursor().copy(f"COPY totp.{table} FROM STDIN") as copy,
        ):
            for block in rows:
                copy.write(block)


@pytest.fixture
def twin(small, client):
    """A client of the second database, at the same time."""
    with closing(small.connect(dbname="two")) as connection:
        twin = Traveller(connection)
        twin.travel(client.now)
        yield twin


def test_two_databases_with_the_same_accounts_share_no_failures(small, client, twin):
    person = client.enrol(new_account())
    copy_account(small, person.account, "one", "two")
    client.execute("BEGIN")
    client.fail(person, LIMIT)
    client.execute("ROLLBACK")
    assert client.attempt(person.account, person.phone.code(client.now, 1)).reason == "locked"
    assert twin.status(person.account).failures == 0
    assert twin.fail(person, LIMIT - 1).retry_after is None
    assert twin.verify(person.account, person.phone.code(twin.now, 1))
    assert client.attempt(person.account, person.phone.code(client.now, 1)).reason == "locked"


def test_two_databases_with_the_same_secrets_share_no_spent_codes(small, client, twin):
    person = client.enrol(new_account())
    copy_account(small, person.account, "one", "two")
    code = person.phone.code(client.now, 1)
    client.execute("BEGIN")
    assert client.verify(person.account, code)
    client.execute("ROLLBACK")
    assert not client.verify(person.account, code)
    assert twin.verify(person.account, code)


def test_a_new_installation_knows_nothing_of_the_old_one(small, client):
    person = client.enrol(new_account())
    small.new_database("renewed")
    install(small, "renewed")
    copy_account(small, person.account, "one", "renewed")
    code = person.phone.code(client.now, 1)
    with closing(small.connect(dbname="renewed")) as connection:
        tenant = Traveller(connection)
        tenant.travel(client.now)
        tenant.execute("BEGIN")
        assert tenant.verify(person.account, code)
        tenant.fail(person, LIMIT)
        tenant.execute("ROLLBACK")
        assert tenant.attempt(person.account, code).reason == "locked"
        tenant.execute("DROP EXTENSION totp")
        tenant.execute("CREATE EXTENSION totp")
        copy_account(small, person.account, "one", "renewed")
        assert tenant.status(person.account).failures == 0
        assert tenant.verify(person.account, code)


def test_memory_of_the_default_size_takes_at_most_twelve_megabytes(dba):
    assert guard(dba).slots == 65_536
    size = "SELECT allocated_size FROM pg_shmem_allocations WHERE name = 'totp'"
    assert dba.value(size) <= 12 * 1024 * 1024
