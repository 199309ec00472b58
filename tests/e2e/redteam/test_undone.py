"""Transactions that rename, forget or create an account, or prove it, and are rolled back: none of
them makes a spent code good again, or gives more guesses."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from client import Traveller
from cluster import Cluster, until
from conftest import install, new_account
from refusal import refused

LIMIT = 5


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        install(cluster, "postgres")
        cluster.execute(
            "CREATE TABLE people (login text PRIMARY KEY)",
            "CREATE TRIGGER rename_account AFTER UPDATE ON people"
            " FOR EACH ROW EXECUTE FUNCTION totp.rename_account('login')",
            "CREATE TRIGGER forget_account AFTER DELETE ON people"
            " FOR EACH ROW EXECUTE FUNCTION totp.forget_account('login')",
        )
        yield cluster


@pytest.fixture
def client(cluster):
    with closing(cluster.connect()) as connection:
        yield Traveller(connection)


@pytest.fixture
def person(client):
    person = client.enrol(new_account())
    client.execute("INSERT INTO people VALUES (%s)", person.account)
    client.wait(60)
    return person


def rename(client, old, new):
    client.execute("UPDATE people SET login = %s WHERE login = %s", new, old)


def test_a_code_that_is_spent_under_another_name_stays_spent(client, person):
    code, other = person.phone.take(client.now), new_account()
    client.execute("BEGIN")
    rename(client, person.account, other)
    assert client.verify(other, code)
    client.execute("ROLLBACK")
    assert not client.verify(person.account, code)


@pytest.mark.parametrize("end", ["ROLLBACK", "ROLLBACK TO before", "COMMIT"])
def test_other_names_give_no_more_guesses(client, person, end):
    client.execute("SET totp.lockout = '1h'")
    names = [person.account, *(new_account() for _ in range(4))]
    reasons, name = [], person.account
    client.execute("BEGIN")
    for other in names[1:]:
        client.execute("SAVEPOINT before")
        rename(client, name, other)
        client.execute("SAVEPOINT guess")
        for _ in range(3):
            reasons.append(client.attempt(other, person.phone.wrong(client.now)).reason)
        client.execute("ROLLBACK TO guess")
        if end == "COMMIT":
            name = other
        else:
            client.execute(end)
            if end == "ROLLBACK":
                client.execute("BEGIN")
    client.execute("COMMIT")
    assert reasons.count("invalid") == LIMIT
    assert client.attempt(name, person.phone.code(client.now)).reason == "locked"


def test_names_that_never_were_take_no_memory(client, person):
    used = "SELECT used FROM totp.guard_status"
    before = client.value(used)
    for _ in range(50):
        client.execute("BEGIN")
        other = new_account()
        rename(client, person.account, other)
        client.attempt(other, person.phone.wrong(client.now))
        client.execute("ROLLBACK")
    assert client.value(used) <= before + 1


REPLACED = {
    "renamed": "UPDATE people SET login = login || '-gone' WHERE login = %s",
    "forgotten": "DELETE FROM people WHERE login = %s",
}


@pytest.mark.parametrize("statement", REPLACED.values(), ids=REPLACED)
def test_an_account_that_takes_the_name_for_a_while_changes_nothing(client, person, statement):
    code = person.phone.take(client.now)
    client.execute("BEGIN")
    assert client.verify(person.account, code)
    client.fail(person, 2)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    client.execute(statement, person.account)
    client.create(person.account)
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == 2
    assert not client.verify(person.account, code)


@pytest.mark.parametrize("statement", REPLACED.values(), ids=REPLACED)
def test_guesses_before_an_account_takes_the_name_count(client, person, statement):
    client.execute("BEGIN")
    client.fail(person, 3)
    client.execute(statement, person.account)
    client.create(person.account)
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == 3


def test_guesses_at_a_renamed_account_count_though_its_name_is_taken(client, person):
    code, other = person.phone.take(client.now), new_account()
    client.execute("BEGIN")
    rename(client, person.account, other)
    client.create(person.account)
    for _ in range(3):
        client.attempt(other, person.phone.wrong(client.now))
    assert client.verify(other, code)
    client.attempt(other, person.phone.wrong(client.now))
    client.execute("ROLLBACK")
    assert client.status(person.account).failures >= 3
    assert not client.verify(person.account, code)


def own_secret(client, person):
    phone = type(person.phone)(client.create(person.account, label="mine").uri)
    assert client.confirm(person.account, phone.code(client.now), label="mine").confirmed


def backup_code(client, person):
    assert client.backup_verify(person.account, person.backup_codes[0])


def right_code(client, person):
    assert client.verify(person.account, person.phone.take(client.now))


@pytest.mark.parametrize("prove", [own_secret, backup_code, right_code])
def test_a_success_that_is_rolled_back_gives_no_more_guesses(client, person, prove):
    client.execute("SET totp.lockout = '1h'")
    client.execute("BEGIN")
    client.fail(person, LIMIT - 1)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    prove(client, person)
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == LIMIT - 1
    client.fail(person, 1)
    assert client.attempt(person.account, "000000").reason == "locked"


def test_an_export_under_another_name_is_told(client, person):
    client.execute("BEGIN")
    other = new_account()
    rename(client, person.account, other)
    client.call("totp_export", account=other, label="default", reason="curious")
    client.execute("ROLLBACK")
    client.call("totp_unlock", account=person.account, reason="look at the trail")
    detail = "SELECT detail FROM totp.audit_log WHERE account = %s ORDER BY id DESC LIMIT 1"
    assert client.value(detail, person.account)["rolled_back_exports"] == 1


def test_a_renaming_that_is_committed_takes_failures_along(client, person):
    other = new_account()
    client.execute("BEGIN")
    rename(client, person.account, other)
    client.execute("SAVEPOINT guess")
    for _ in range(3):
        client.attempt(other, person.phone.wrong(client.now))
    client.execute("ROLLBACK TO guess")
    client.execute("COMMIT")
    assert client.status(other).failures == 3
    assert client.status(person.account).failures == 0


# What is as it is, and said in docs/security-model.md


def test_a_copy_of_a_database_has_its_own_memory(cluster):
    with cluster.database("origin"):
        with closing(cluster.connect(dbname="origin")) as connection:
            connection.execute("CREATE EXTENSION totp")
            client = Traveller(connection)
            person = client.enrol(new_account())
            client.execute("BEGIN")
            client.fail(person, LIMIT)
            client.execute("ROLLBACK")
            assert client.attempt(person.account, "000000").reason == "locked"
        cluster.new_database("replica", template="origin")
        with closing(cluster.connect(dbname="replica")) as connection:
            copy = Traveller(connection)
            assert copy.attempt(person.account, person.phone.wrong(copy.now)).reason == "invalid"
        cluster.execute("DROP DATABASE replica")


def test_a_secret_that_is_imported_again_has_no_spent_codes(client, person):
    code = person.phone.take(client.now)
    assert client.verify(person.account, code)
    assert not client.verify(person.account, code)
    client.call("totp_reset", account=person.account, reason="to import it again")
    client.call("totp_import", account=person.account, uri=person.phone.totp.secret)
    assert client.verify(person.account, code)


@pytest.mark.parametrize("name", ["bell\a", "line\nfeed", "\u202egnp.exe", "\x1b[31mred"])
def test_names_are_kept_as_they_are(client, name):
    account = f"{new_account()}{name}"
    client.create(account, label=name)
    query = "SELECT label FROM totp.factor_status WHERE account = %s"
    assert client.value(query, account) == name


# Guesses inside of what is undone


def test_guesses_in_a_success_that_is_rolled_back_add_up(client, person):
    client.execute("SET totp.lockout = '1h'")
    client.execute("BEGIN")
    client.fail(person, 3)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    client.execute("SAVEPOINT before")
    own_secret(client, person)
    client.execute("SAVEPOINT guess")
    reasons = [
        client.attempt(person.account, person.phone.wrong(client.now)).reason for _ in "1234"
    ]
    client.execute("ROLLBACK TO guess")
    client.execute("ROLLBACK TO before")
    client.execute("COMMIT")
    assert reasons.count("invalid") == LIMIT - 3
    assert client.attempt(person.account, person.phone.code(client.now)).reason == "locked"


def test_what_a_success_clears_no_longer_shows_in_its_transaction(client, person):
    client.execute("SET totp.lockout = '1h'")
    client.fail(person, 2)
    client.execute("BEGIN")
    right_code(client, person)
    assert client.status(person.account).failures == 0
    client.fail(person, 1)
    assert client.status(person.account).failures == 1
    # Until the commit, all of them count for the lock.
    assert not client.attempt(person.account, person.phone.wrong(client.now)).retry_after
    assert client.attempt(person.account, person.phone.wrong(client.now)).retry_after
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == LIMIT
    assert client.attempt(person.account, "000000").reason == "locked"


def test_what_fails_after_a_success_counts_from_one_after_the_commit(client, person):
    client.fail(person, 2)
    client.execute("BEGIN")
    right_code(client, person)
    client.fail(person, 1)
    client.execute("COMMIT")
    assert client.status(person.account).failures == 1
    query = "SELECT failures::integer FROM totp.accounts WHERE account = %s"
    assert client.value(query, person.account) == 1


def test_own_secrets_do_not_push_out_a_spent_code(client, person):
    code = person.phone.take(client.now)
    client.execute("BEGIN")
    assert client.verify(person.account, code)
    client.execute("ROLLBACK")
    for keeps_secret in (False, True):
        for number in range(6):
            label = f"own {number}"
            if keeps_secret:
                client.create(person.account, label=label, period=60)
            client.execute("BEGIN")
            uri = client.create(person.account, label=label, period=60).uri
            client.confirm(person.account, type(person.phone)(uri).code(client.now), label=label)
            client.execute("ROLLBACK")
    assert not client.verify(person.account, code)


@pytest.mark.parametrize("statement", REPLACED.values(), ids=REPLACED)
def test_a_success_of_an_account_that_takes_the_name_clears_nothing(client, person, statement):
    client.execute("BEGIN")
    client.fail(person, LIMIT - 1)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    client.execute(statement, person.account)
    phone = type(person.phone)(client.create(person.account).uri)
    assert client.confirm(person.account, phone.code(client.now)).confirmed
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == LIMIT - 1


def test_accounts_that_swap_their_names_keep_what_they_spent(client):
    people = [client.enrol(new_account()) for _ in range(2)]
    client.wait(60)
    codes = [person.phone.take(client.now) for person in people]
    first, second = (person.account for person in people)
    client.execute("BEGIN")
    for old, new in ((first, "between"), (second, first), ("between", second)):
        client.call("totp_rename", account=old, new_account=new, reason="they swap")
    client.execute("SAVEPOINT used")
    assert client.verify(second, codes[0])
    client.execute("ROLLBACK TO used")
    client.execute("COMMIT")
    assert not client.verify(second, codes[0])
    assert client.verify(first, codes[1])


def test_a_repeated_guess_is_a_new_one_after_a_while(client, person):
    """An attempt that was refused once is no licence to try it again for ever."""
    statement = "SELECT totp.totp_verify(%s, %s)"
    wrong = person.phone.wrong(client.now)
    client.execute("BEGIN")
    client.value(statement, person.account, wrong)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    client.value(statement, person.account, wrong)
    client.execute("ROLLBACK")
    assert client.status(person.account).failures == 2


# Transactions whose end nobody knows yet


def test_a_renaming_is_not_prepared(client, person):
    """Shared memory could not follow the account to its new name."""
    code = person.phone.take(client.now)
    client.execute("BEGIN")
    rename(client, person.account, new_account())
    client.execute("SAVEPOINT before")
    client.execute("ROLLBACK TO before")
    with refused("0A000"):
        client.execute(f"PREPARE TRANSACTION '{person.account}'")
    assert client.verify(person.account, code)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_prepared_attempts_are_told_by_the_next_event(client, person, end):
    for _ in range(3):
        client.execute("BEGIN")
        client.attempt(person.account, person.phone.wrong(client.now))
        client.execute(f"PREPARE TRANSACTION '{person.account}'")
        client.execute(f"{end} PREPARED '{person.account}'")
    assert client.verify(person.account, person.phone.take(client.now))
    query = "SELECT detail ->> 'prepared' FROM totp.audit_events WHERE account = %s ORDER BY id"
    assert client.rows(query, person.account)[-1] == ("3",)


def test_calls_that_are_rolled_back_use_up_no_events(client, person):
    client.execute("BEGIN")
    for _ in range(25):
        client.call("trust_revoke", account=person.account)
    client.execute("ROLLBACK")
    client.trust(person.account)
    query = """
        SELECT event, detail ->> 'unrecorded' FROM totp.audit_events
        WHERE account = %s AND event IN ('trust', 'trust_revoke')
    """
    assert client.rows(query, person.account) == [("trust", "25")]


def test_a_name_that_another_transaction_takes_at_the_same_time_is_busy(cluster, client, person):
    other = new_account()
    with closing(cluster.connect()) as first, ThreadPoolExecutor() as pool:
        first.execute("BEGIN")
        Traveller(first).create(other)
        rename_to_it = pool.submit(rename, client, person.account, other)
        until(lambda: client_waits(first), what="a wait")
        first.execute("COMMIT")
        with refused("55P03"):
            rename_to_it.result()
    assert client.verify(person.account, person.phone.take(client.now))


def client_waits(connection):
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return connection.execute(query).fetchone()[0]
