"""Row policies that ask for a second factor, as a browser meets them through PostgREST."""

import json
from contextlib import closing

import psycopg
import pytest

from authenticator import Authenticator
from browser import ROLES, Browser
from client import Client, Traveller
from cluster import Cluster
from conftest import install, new_account
from refusal import NOT_ALLOWED, refused
from timing import assert_ratio

ROWS = 100_000
RUNS = 15
TABLES = f"""
CREATE TABLE payslips AS
    SELECT n AS amount, 'employee ' || n AS owner FROM generate_series(1, {ROWS}) AS n;
CREATE TABLE open_slips AS TABLE payslips;
ALTER TABLE payslips ENABLE ROW LEVEL SECURITY;
CREATE POLICY verified ON payslips USING ((SELECT totp.totp_verified('15 min')));
GRANT SELECT ON payslips, open_slips TO authenticated, stranger;
VACUUM ANALYZE payslips, open_slips;
"""
GRANTS = """
CREATE ROLE stranger LOGIN;
GRANT totp_user TO authenticated, stranger;
GRANT SET ON PARAMETER totp.clock TO authenticator
"""
SEEN = "SELECT count(*) FROM payslips"
QUARTER = 15 * 60


@pytest.fixture(scope="module")
def primary():
    with Cluster(settings={"autovacuum": "off", "track_functions": "all"}) as cluster:
        cluster.execute(ROLES)
        install(cluster, "postgres")
        cluster.execute(*GRANTS.split(";"), *filter(str.strip, TABLES.split(";")))
        yield cluster


@pytest.fixture(scope="module")
def standby(primary):
    standby = primary.standby()
    try:
        yield standby
    finally:
        standby.destroy()


@pytest.fixture(scope="module")
def backend(primary):
    """The application's backend, or an administrator, whose clock goes with the others."""
    with closing(primary.connect()) as connection:
        yield Traveller(connection)


class Pool:
    """The connections of PostgREST. The clock of all stands still, and is moved for all."""

    def __init__(self, backend, cluster, number=2):
        self.backend = backend
        self.connections = [cluster.connect("authenticator") for _ in range(number)]
        self.travellers = [backend, *map(Traveller, self.connections)]
        self.travel(Traveller.START)

    def travel(self, moment):
        for traveller in self.travellers:
            traveller.travel(moment)

    def wait(self, seconds):
        self.travel(self.backend.now + seconds)

    def browser(self, **claims):
        return Browser(self.connections[0], **claims)

    def close(self):
        for connection in self.connections:
            connection.close()


@pytest.fixture
def pool(backend, primary):
    with closing(Pool(backend, primary)) as pool:
        yield pool


@pytest.fixture
def person(pool, backend):
    return backend.enrol(new_account())


@pytest.fixture
def browser(pool, person):
    return pool.browser(sub=person.account, session_id="one")


def sees_rows(browser):
    ((count,),) = browser.get(SEEN)
    assert count in (0, ROWS)
    return count == ROWS


def says_verified(browser):
    (status,) = browser.get("SELECT * FROM totp_api.totp_status()")
    return status.verified


def verify(browser, person):
    """Spends a backup code, which needs no clock."""
    verdict = browser.post("totp_verify", code=person.backup_codes.pop())
    assert verdict.verified, verdict


# Before, after, and not for ever


def test_rows_are_hidden_before_the_second_factor_and_shown_after_it(pool, browser, person):
    assert not sees_rows(browser)
    pool.wait(30)
    verdict = browser.post("totp_verify", code=person.phone.take(pool.backend.now))
    assert (verdict.verified, verdict.method, verdict.account) == (True, "totp", person.account)
    assert sees_rows(browser)
    assert sees_rows(browser.over(pool.connections[1])), "a session is not a connection"
    assert says_verified(browser)


def test_a_wrong_code_shows_nothing(pool, browser, person):
    wrong = person.phone.wrong(pool.backend.now)
    assert browser.post("totp_verify", code=wrong).reason == "invalid"
    assert not sees_rows(browser)
    assert not says_verified(browser)


def test_rows_are_hidden_after_15_minutes(pool, browser, person):
    verify(browser, person)
    pool.wait(QUARTER)
    assert sees_rows(browser)
    pool.wait(0.000001)
    assert not sees_rows(browser)
    verify(browser, person)
    assert sees_rows(browser)


def test_a_verification_that_is_rolled_back_shows_nothing(browser, person):
    # Prefer: tx=rollback
    verdict = browser.post("totp_verify", rollback=True, code=person.backup_codes[0])
    assert verdict.verified
    assert not sees_rows(browser)


def test_a_code_that_the_backend_checks_verifies_nobody_s_browser(backend, browser, person):
    assert backend.backup_verify(person.account, person.backup_codes.pop())
    assert not sees_rows(browser)


# What ends it


def by_browser_disable(_, browser, person):
    assert browser.post("totp_disable", code=person.backup_codes.pop()).disabled


def by_backend_disable(backend, _, person):
    assert backend.disable(person.account, person.backup_codes.pop())


def by_reset(backend, _, person):
    assert backend.call("totp_reset", account=person.account, reason="a test")[0]


def by_rename(backend, _, person):
    new = {"new_account": f"{person.account}-new", "reason": "a test"}
    assert backend.call("totp_rename", account=person.account, **new)[0]


def by_forget(backend, _, person):
    assert backend.call("totp_forget", account=person.account, reason="a test")[0]


def by_recovery(backend, _, person):
    assert backend.recover(backend.recovery(person.account))


def by_another_phone(backend, _, person):
    backend.enrol(person.account, label="other")


CHANGES = [
    *(by_browser_disable, by_backend_disable, by_reset, by_rename, by_forget, by_recovery),
    by_another_phone,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_rows_are_hidden_after_a_change_of_factors(pool, backend, browser, person, change):
    verify(browser, person)
    assert sees_rows(browser)
    pool.wait(30)
    change(backend, browser, person)
    assert not sees_rows(browser)
    renamed = pool.browser(sub=f"{person.account}-new", session_id="one")
    assert not sees_rows(renamed)


def test_a_proof_that_a_change_of_factors_overtakes_shows_nothing(backend, browser, person):
    """It is of what was there before the change, and committed after it."""
    backend.wait(30)
    with browser.request("POST", "/rpc/totp_verify") as connection:
        verify = "SELECT verified FROM totp_api.totp_verify(%s)"
        assert connection.execute(verify, [person.backup_codes.pop()]).fetchone().verified
        backend.enrol(person.account, label="other")
    assert not sees_rows(browser)


# Whose it is


def test_another_session_of_the_same_user_sees_nothing(pool, browser, person):
    verify(browser, person)
    for claims in (
        {"session_id": "two"},
        {"session_id": "ONE"},
        {"session_id": "one "},
        {"session_id": ""},
        {"session_id": ["one"]},
        {"sid": "one"},
        {},
    ):
        assert not sees_rows(pool.browser(sub=person.account, **claims)), claims
    assert sees_rows(pool.browser(sub=person.account, jti="other", session_id="one"))


def test_another_user_sees_nothing(pool, browser, person):
    other = pool.backend.enrol(new_account())
    verify(browser, person)
    for account in (other.account, new_account(), person.account.upper()):
        assert not sees_rows(pool.browser(sub=account, session_id="one")), account
    assert not sees_rows(pool.browser(session_id="one"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        pool.browser().get(SEEN)


def test_a_jti_names_a_session_where_there_is_no_session_id(pool, person):
    browser = pool.browser(sub=person.account, jti="a")
    verify(browser, person)
    assert sees_rows(browser.over(pool.connections[1]))
    assert not sees_rows(pool.browser(sub=person.account, jti="b"))


@pytest.mark.parametrize("claims", [{}, {"iat": 1}, {"session_id": ""}, {"sid": "one"}], ids=str)
def test_without_session_id_and_jti_a_session_is_never_verified(primary, pool, person, claims):
    """Two logins in the same second can have equal claims, and all have without iat and exp. The
    code is right, and its verdict says so, but nothing tells the session from another one."""
    browser = pool.browser(sub=person.account, **claims)
    verify(browser, person)
    assert not sees_rows(browser)
    assert not says_verified(browser)
    with refused(NOT_ALLOWED) as caught:
        browser.post("totp_create", label="mine")
    assert "session_id" in caught.value.diag.message_detail
    assert "session_id or jti" in caught.value.diag.message_hint
    stored = "SELECT count(*) FROM totp.sessions WHERE account = %s"
    with closing(primary.connect()) as connection:
        assert Client(connection).value(stored, person.account) == 0


def test_a_first_enrolment_needs_no_session_id_but_verifies_no_session(pool):
    browser = pool.browser(sub=new_account())
    phone = Authenticator(browser.post("totp_create", label="default").uri)
    confirmed = browser.post("totp_confirm", code=phone.take(pool.backend.now))
    assert confirmed.confirmed and confirmed.backup_codes
    assert not sees_rows(browser)


# What keeps it


def by_browser_confirm(pool, browser, person):
    phone = Authenticator(browser.post("totp_create", label="third").uri)
    assert browser.post("totp_confirm", code=phone.take(pool.backend.now), label="third").confirmed


def by_browser_remove(pool, browser, person):
    assert browser.post("totp_remove", label="second", code=person.backup_codes.pop()).removed


def by_browser_rotate(pool, browser, person):
    person.backup_codes = browser.post("backup_rotate", code=person.backup_codes.pop()).backup_codes


KEEPING = [by_browser_confirm, by_browser_remove, by_browser_rotate]


@pytest.mark.parametrize("change", KEEPING, ids=lambda change: change.__name__)
def test_the_session_in_which_a_right_code_changed_the_factors_stays_verified(
    pool, backend, browser, person, change
):
    backend.enrol(person.account, label="second")
    other = pool.browser(sub=person.account, session_id="other")
    for session in (browser, other):
        verify(session, person)
    change(pool, browser, person)
    assert sees_rows(browser)
    # The set of backup codes is not a factor.
    assert sees_rows(other) is (change is by_browser_rotate)


def test_a_change_with_a_wrong_code_verifies_nothing(pool, backend, browser, person):
    backend.enrol(person.account, label="second")
    verify(browser, person)
    other = pool.browser(sub=person.account, session_id="other")
    with refused(NOT_ALLOWED):
        other.post("totp_remove", label="second", code=person.backup_codes.pop())
    wrong = person.phone.wrong(pool.backend.now)
    assert browser.post("totp_remove", label="second", code=wrong).removed is False
    assert sees_rows(browser) and not sees_rows(other)


@pytest.mark.parametrize("local", ["true", "false"])
def test_claims_that_any_other_login_sets_are_not_believed(primary, pool, browser, person, local):
    verify(browser, person)
    claims = json.dumps(browser.claims)
    for login in ("stranger", "postgres"):
        with closing(primary.connect(login)) as connection:
            client = Client(connection)
            client.execute("BEGIN")
            client.execute(f"SELECT set_config('request.jwt.claims', %s, {local})", claims)
            client.execute(f"SET ROLE {'authenticated' if login == 'postgres' else login}")
            assert client.value("SELECT totp.current_account()") is None
            assert client.value("SELECT totp.totp_verified()") is False
            assert client.value(SEEN) == 0
    # The same of the login that is believed.
    connection = pool.connections[1]
    with connection.transaction():
        connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
        connection.execute("SET LOCAL ROLE authenticated")
        assert connection.execute("SELECT totp.current_account()").fetchone() == (person.account,)


def test_claims_do_not_outlive_their_transaction(pool, browser, person):
    verify(browser, person)
    assert sees_rows(browser)
    (account,) = pool.connections[0].execute("SHOW request.jwt.claims").fetchone()
    assert account == ""


def test_a_superuser_can_name_other_logins(primary, person):
    with closing(primary.connect()) as connection:
        client = Client(connection)
        claims = json.dumps({"sub": person.account})
        client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        client.execute("SET totp.jwt_logins = 'authenticator, postgres'")
        assert client.value("SELECT totp.current_account()") == person.account
        for logins in ("", "authenticator", "Postgres", "postgres2", "post", "*"):
            client.execute("SELECT set_config('totp.jwt_logins', %s, false)", logins)
            assert client.value("SELECT totp.current_account()") is None, logins


# Hot standbys


def test_a_hot_standby_shows_and_hides_the_same(primary, standby, pool, backend, browser, person):
    with closing(Pool(backend, standby)) as replica:
        there = browser.over(replica.connections[0])

        def agree(expected, message):
            standby.wait_for_replay(primary)
            assert (sees_rows(browser), sees_rows(there)) == (expected, expected), message

        agree(False, "before")
        verify(browser, person)
        agree(True, "after")
        assert not sees_rows(replica.browser(sub=person.account, session_id="two"))
        assert not sees_rows(replica.browser(sub=new_account(), session_id="one"))
        pool.wait(QUARTER)
        replica.travel(backend.now)
        agree(True, "at 15 minutes")
        pool.wait(1)
        replica.travel(backend.now)
        agree(False, "after 15 minutes")
        verify(browser, person)
        agree(True, "verified again")
        by_backend_disable(backend, browser, person)
        agree(False, "after disable")


# What it costs


def test_a_query_over_all_rows_calls_the_function_once(browser, person):
    verify(browser, person)
    ((plan,),) = browser.get(f"EXPLAIN (FORMAT JSON) {SEEN}")
    assert len(plans(plan[0]["Plan"], "InitPlan")) == 1
    query = """
        SELECT funcname, calls FROM pg_stat_xact_user_functions
        WHERE schemaname = 'totp' AND funcname = 'totp_verified'
    """
    calls = []
    with browser.request("GET", "/payslips") as connection:
        for _ in range(3):
            assert connection.execute(SEEN).fetchone() == (ROWS,)
            calls.append(connection.execute(query).fetchone().calls)
    assert calls == [calls[0], calls[0] + 1, calls[0] + 2]


def plans(node, relationship):
    """The nodes below one in a plan that stand in this relationship to their parents."""
    below = [found for child in node.get("Plans", []) for found in plans(child, relationship)]
    return below + ([node] if node.get("Parent Relationship") == relationship else [])


@pytest.mark.alone
def test_a_policy_costs_a_list_of_100_000_rows_next_to_nothing(browser, person):
    """One call, and PostgreSQL's look at the result of the subquery for each row: that is a tenth
    of a bare count(*) or more, whatever the subquery calls, and little beside reading the rows."""
    verify(browser, person)
    everything = """
        SELECT coalesce(json_agg(_postgrest_t), '[]')::character varying AS body
        FROM (SELECT {0}.* FROM {0}) _postgrest_t
    """
    bodies = {}
    with browser.request("GET", "/payslips") as connection:

        def reader(table):
            query = everything.format(table)

            def read(_):
                (bodies[table],) = connection.execute(query).fetchone()

            return read

        assert_ratio(reader("payslips"), reader("open_slips"), RUNS, below=1.25)
    assert [body.count("employee") for body in bodies.values()] == [ROWS, ROWS]
