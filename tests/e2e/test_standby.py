"""Hot standbys: they check no code, and a promoted one accepts none that its primary may have."""

import time
from contextlib import closing

import pytest

from authenticator import Authenticator
from client import Client, Person
from cluster import Cluster, until
from conftest import install, new_account
from period import roomy_period
from refusal import READ_ONLY, refused

WRITERS = {
    "totp_create": {},
    "totp_confirm": {"code": "123456", "label": "pending"},
    "totp_verify": {"code": "123456"},
    "totp_attempt": {"code": "123456"},
    "totp_disable": {"code": "123456"},
    "totp_resync": {"code1": "123456", "code2": "123457"},
    "backup_verify": {"code": "0000-0000-0000-0000"},
    "backup_rotate": {"code": "123456"},
    "challenge_create": {},
    "recovery_create": {},
    "trust_create": {},
    "trust_revoke": {},
}


@pytest.fixture(scope="module")
def primary():
    with Cluster(settings={"autovacuum": "off"}) as cluster:
        install(cluster, "postgres")
        yield cluster


@pytest.fixture(scope="module")
def on_primary(primary):
    with closing(primary.connect()) as connection:
        yield Client(connection)


@pytest.fixture(scope="module")
def standby(primary):
    standby = primary.standby()
    try:
        yield standby
    finally:
        standby.destroy()


@pytest.fixture
def on_standby(standby):
    with closing(standby.connect()) as connection:
        yield Client(connection)


def enrol(client, period):
    """A person who has spent the code of the last step, but not that of the current one."""
    account = new_account()
    phone = Authenticator(client.create(account, period=period).uri)
    confirmed = client.confirm(account, phone.code(time.time(), -1))
    assert confirmed.confirmed
    return Person(account, phone, confirmed.backup_codes)


@pytest.fixture
def person(primary, standby, on_primary):
    person = enrol(on_primary, roomy_period(time.time()))
    on_primary.create(person.account, label="pending")
    standby.wait_for_replay(primary)
    return person


@pytest.mark.parametrize("function", WRITERS)
def test_a_standby_refuses_what_must_be_counted(on_standby, on_primary, person, function):
    for account in (person.account, new_account()):
        with refused(READ_ONLY):
            on_standby.call(function, account=account, **WRITERS[function])
    assert on_standby.value("SELECT used FROM totp.guard_status") == 0
    assert on_primary.status(person.account).failures == 0


def test_a_standby_refuses_right_codes_and_spends_none(on_standby, on_primary, person):
    code = person.phone.code(time.time())
    for _ in range(10):
        with refused(READ_ONLY):
            on_standby.verify(person.account, code)
        with refused(READ_ONLY):
            on_standby.backup_verify(person.account, person.backup_codes[0])
    assert on_primary.verify(person.account, code)
    assert on_primary.backup_verify(person.account, person.backup_codes[0])


def test_a_standby_tells_what_it_has_replayed(primary, standby, on_standby, on_primary, person):
    on_primary.fail(person, 5)
    standby.wait_for_replay(primary)
    assert on_standby.is_enabled(person.account)
    assert on_standby.backup_remaining(person.account) == 10
    assert on_standby.status(person.account) == on_primary.status(person.account)


def test_a_standby_looks_at_tokens_and_spends_none(
    primary, standby, on_standby, on_primary, person
):
    account = person.account
    challenge, recovery = on_primary.challenge(account), on_primary.recovery(account)
    device = on_primary.trust(account)
    standby.wait_for_replay(primary)
    assert on_standby.call("challenge_account", token=challenge)[0] == account
    assert on_standby.is_trusted(account, device)
    with refused(READ_ONLY):
        on_standby.answer(challenge, person.backup_codes[0])
    with refused(READ_ONLY):
        on_standby.recover(recovery)
    assert on_primary.answer(challenge, person.backup_codes[0]).verified
    assert on_primary.recover(recovery)
    standby.wait_for_replay(primary)
    assert on_standby.call("challenge_account", token=challenge)[0] is None
    assert not on_standby.is_trusted(account, device)


# Promotion


class Takeover:
    """A primary that is killed while its standby lags behind, and the standby that takes over."""

    def __init__(self, primary, standby):
        with closing(primary.connect()) as connection:
            client = Client(connection)
            self.slow = enrol(client, roomy_period(time.time()))
            self.fast = enrol(client, 1)
            client.execute("SET totp.lockout = '1h'")
            self.locked = enrol(client, 30)
            client.fail(self.locked, 5)
            standby.wait_for_replay(primary)
            cut_off(standby)
            self.code = self.slow.phone.code(time.time())
            assert client.verify(self.slow.account, self.code)
        primary.kill()
        standby.promote()
        # A step of the fast one, and its window, lie between the promotion and the first login.
        time.sleep(3.1)


def cut_off(standby):
    """Lets a standby receive no more."""
    standby.configure(primary_conninfo="")
    with closing(standby.connect()) as connection:
        client = Client(connection)
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        until(lambda: client.value(receivers) == 0, what="end of replication")


@pytest.fixture(scope="module")
def takeover(primary, standby):
    return Takeover(primary, standby)


def test_the_promotion_counts_and_not_the_first_login_after_it(takeover, on_standby):
    person = takeover.fast
    assert on_standby.verify(person.account, person.phone.code(time.time()))


def test_a_promoted_standby_refuses_codes_up_to_its_promotion(takeover, on_standby):
    account = takeover.slow.account
    assert not on_standby.verify(account, takeover.code)
    assert on_standby.last_outcome(account) == "cold_start"


def test_without_cold_start_the_lag_would_have_made_a_replay(takeover, on_standby):
    on_standby.execute("SET totp.cold_start = off")
    assert on_standby.verify(takeover.slow.account, takeover.code)


def test_a_promoted_standby_refuses_codes_of_phones_that_are_ahead(takeover, on_standby):
    account = takeover.slow.account
    assert not on_standby.verify(account, takeover.slow.phone.code(time.time(), 1))
    assert on_standby.last_outcome(account) == "cold_start"


def test_a_promoted_standby_accepts_the_code_after_those(takeover, on_standby):
    later = time.time() + 2 * takeover.slow.phone.totp.interval
    on_standby.execute("SELECT set_config('totp.clock', to_timestamp(%s)::text, false)", later)
    assert on_standby.verify(takeover.slow.account, takeover.slow.phone.code(later))


def test_a_promoted_standby_keeps_locks(takeover, on_standby):
    person = takeover.locked
    code = person.phone.code(time.time(), 1)
    assert on_standby.attempt(person.account, code).reason == "locked"
