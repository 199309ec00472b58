"""Tables and indexes stay whole under a load of updates that are not HOT: each writes a new entry
to every index. An index on a column that logins change, which a DBA may add, is enough for that."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from client import Traveller
from cluster import bindir
from conftest import install, new_account

PERIOD = 30
CLIENTS = 4
ACCOUNTS = 5
# A login writes to factors. The wrong code before it, the failure that it clears and the same code
# again write to accounts. Together: 3,040 updates.
LOGINS = 760
INDEXES = (
    "CREATE INDEX extra_step ON totp.factors (last_step)",
    "CREATE INDEX extra_failures ON totp.accounts (failures)",
)


@pytest.fixture(scope="module")
def database(cluster):
    """A database with indexes that keep updates from being HOT, and with amcheck."""
    name = cluster.new_database("storage")
    install(cluster, name)
    cluster.execute(*INDEXES, dbname=name)
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


def log_in(cluster, database):
    """Logs in accounts of its own in turn, each time with a wrong code before and the same code
    after. Returns what was not as it should be."""
    odd = []
    with closing(cluster.connect(dbname=database)) as connection:
        client = Traveller(connection)
        people = [client.enrol(new_account()) for _ in range(ACCOUNTS)]
        for number in range(LOGINS // CLIENTS):
            person = people[number % ACCOUNTS]
            client.wait(PERIOD)
            code = person.phone.take(client.now)
            answers = [
                client.verify(person.account, person.phone.wrong(client.now)),
                client.verify(person.account, code),
                client.verify(person.account, code),
            ]
            if answers != [False, True, False]:
                odd.append((number, answers))
    return odd


def updates(cluster, database, table):
    """How many updates of a table there were, and how many of them were HOT."""
    with closing(cluster.connect(dbname=database)) as connection:
        return connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = %s::regclass",
            (f"totp.{table}",),
        ).fetchone()


def check(cluster, database):
    """Compares every row with every index entry, and the structure of all indexes."""
    every = ("--heapallindexed", "--parent-check", "--install-missing")
    cluster.run("pg_amcheck", *every, database)


@pytest.mark.parametrize("held", [False, True], ids=["pruned", "under an old snapshot"])
def test_updates_that_are_not_hot_leave_tables_and_indexes_whole(cluster, database, held):
    if not (bindir() / "pg_amcheck").exists():
        pytest.skip("this PostgreSQL has no pg_amcheck")
    before = [updates(cluster, database, table)[0] for table in ("factors", "accounts")]
    with closing(cluster.connect(dbname=database)) as reader:
        if held:
            # Every version of a row that is still in this snapshot must stay.
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT FROM totp.factors")
        with ThreadPoolExecutor(CLIENTS) as pool:
            odd = pool.map(lambda _: log_in(cluster, database), range(CLIENTS))
            assert [it for each in odd for it in each] == []
    after = [updates(cluster, database, table) for table in ("factors", "accounts")]
    written = [new - old for (new, _), old in zip(after, before, strict=True)]
    assert written[0] >= LOGINS and written[1] >= 3 * LOGINS
    # Only enrolments, which change other columns of accounts.
    assert all(hot <= 2 * CLIENTS * ACCOUNTS for _, hot in after), after
    check(cluster, database)
    cluster.execute("VACUUM", dbname=database)
    check(cluster, database)
