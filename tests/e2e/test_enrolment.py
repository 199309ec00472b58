"""From a new secret to a confirmed factor, its replacement, and its end."""

import pytest

from authenticator import Authenticator
from client import Client
from conftest import DATABASE
from refusal import NOT_THERE, refused

PENDING_TTL = 15 * 60


def test_an_unconfirmed_factor_does_not_switch_anything_on(app, account):
    phone = Authenticator(app.create(account).uri)
    assert not app.is_enabled(account)
    status = app.status(account)
    assert (status.enabled, status.pending, status.factors) == (False, True, 0)
    assert app.verify(account, phone.code(app.now)) is False
    assert app.attempt(account, phone.code(app.now)).reason == "not_enrolled"
    assert app.disable(account, phone.code(app.now)) is False


def test_the_first_code_confirms_and_brings_backup_codes(app, account):
    phone = Authenticator(app.create(account).uri)
    confirmed = app.confirm(account, phone.take(app.now))
    assert (confirmed.confirmed, confirmed.reason) == (True, "ok")
    assert len(confirmed.backup_codes) == 10
    status = app.status(account)
    assert (status.enabled, status.pending, status.factors) == (True, False, 1)
    assert (status.backup_codes_left, status.failures) == (10, 0)
    assert app.is_enabled(account)


def test_the_code_that_confirmed_cannot_log_in(app, account):
    phone = Authenticator(app.create(account).uri)
    code = phone.take(app.now)
    assert app.confirm(account, code).confirmed
    assert app.verify(account, code) is False
    assert app.attempt(account, code).reason == "invalid"
    assert app.verify(account, phone.take(app.now)) is True


def test_a_wrong_first_code_confirms_nothing_and_is_counted(app, account):
    # With eight digits, a wrong code is hardly ever right for another hour.
    phone = Authenticator(app.create(account, digits=8).uri)
    refusal = app.confirm(account, phone.wrong(app.now))
    assert (refusal.confirmed, refusal.backup_codes, refusal.reason) == (False, None, "invalid")
    status = app.status(account)
    assert (status.enabled, status.pending, status.failures) == (False, True, 1)
    assert app.confirm(account, phone.take(app.now)).confirmed
    assert app.status(account).failures == 0


def test_a_second_confirmation_is_refused(app, account):
    person = app.enrol(account)
    with refused(NOT_THERE):
        app.confirm(account, person.phone.take(app.now))


def test_nothing_can_be_confirmed_that_was_not_created(app, account):
    with refused(NOT_THERE):
        app.confirm(account, "123456")
    app.create(account, label="phone")
    with refused(NOT_THERE):
        app.confirm(account, "123456", label="tablet")


def test_a_newer_pending_secret_replaces_an_older_one(app, account):
    older, newer = (Authenticator(app.create(account).uri) for _ in range(2))
    assert older.totp.secret != newer.totp.secret
    assert not app.confirm(account, older.code(app.now)).confirmed
    assert app.confirm(account, newer.code(app.now)).confirmed


def test_a_pending_factor_expires(traveller, account):
    phone = Authenticator(traveller.create(account).uri)
    traveller.wait(PENDING_TTL + 1)
    assert not traveller.status(account).pending
    with refused(NOT_THERE):
        traveller.confirm(account, phone.code(traveller.now))
    assert not traveller.is_enabled(account)


def test_a_pending_factor_can_be_confirmed_until_it_expires(traveller, account):
    phone = Authenticator(traveller.create(account).uri)
    traveller.wait(PENDING_TTL - 1)
    assert traveller.status(account).pending
    assert traveller.confirm(account, phone.code(traveller.now)).confirmed


def test_an_active_factor_works_until_its_replacement_is_confirmed(traveller, account):
    person = traveller.enrol(account)
    replacement = Authenticator(traveller.create(account).uri)
    traveller.wait(60)
    assert traveller.verify(account, person.phone.code(traveller.now))
    assert not traveller.verify(account, replacement.code(traveller.now))
    assert not traveller.confirm(account, replacement.wrong(traveller.now)).confirmed
    traveller.wait(60)
    assert traveller.verify(account, person.phone.code(traveller.now))

    confirmed = traveller.confirm(account, replacement.code(traveller.now))
    assert confirmed.confirmed and confirmed.backup_codes is None
    traveller.wait(60)
    assert not traveller.verify(account, person.phone.code(traveller.now))
    assert traveller.verify(account, replacement.code(traveller.now))
    status = traveller.status(account)
    assert (status.factors, status.pending, status.backup_codes_left) == (1, False, 10)


def test_an_abandoned_replacement_leaves_the_active_factor_alone(traveller, account):
    person = traveller.enrol(account)
    traveller.create(account)
    traveller.wait(PENDING_TTL + 1)
    assert traveller.verify(account, person.phone.code(traveller.now))
    assert not traveller.status(account).pending


def test_each_of_two_devices_verifies_and_is_named(traveller, account):
    phone = traveller.enrol(account).phone
    tablet = traveller.enrol(account, label="Tablet 🖥")
    assert tablet.backup_codes is None
    assert traveller.status(account).factors == 2
    traveller.wait(60)
    labels = [
        traveller.attempt(account, device.code(traveller.now)).label
        for device in (phone, tablet.phone)
    ]
    assert labels == ["default", "Tablet 🖥"]
    assert traveller.status(account).failures == 0


@pytest.mark.parametrize("method", ["totp", "backup"])
def test_a_code_switches_two_factor_authentication_off(traveller, account, method):
    person = traveller.enrol(account)
    traveller.enrol(account, label="second")
    traveller.create(account, label="third")
    traveller.wait(60)
    code = person.phone.code(traveller.now) if method == "totp" else person.backup_codes[0]
    assert traveller.disable(account, code) is True
    status = traveller.status(account)
    assert (status.enabled, status.pending, status.factors) == (False, False, 0)
    assert (status.backup_codes_left, status.failures) == (0, 0)
    assert not traveller.is_enabled(account)
    assert traveller.backup_remaining(account) == 0
    traveller.wait(60)
    assert not traveller.verify(account, person.phone.code(traveller.now))
    assert not traveller.backup_verify(account, person.backup_codes[1])


def test_a_wrong_code_switches_nothing_off_and_is_counted(app, account):
    person = app.enrol(account)
    assert app.disable(account, person.phone.wrong(app.now)) is False
    status = app.status(account)
    assert (status.enabled, status.factors, status.failures) == (True, 1, 1)


def test_after_switching_off_a_new_enrolment_starts_afresh(traveller, account):
    old = traveller.enrol(account)
    traveller.wait(60)
    assert traveller.disable(account, old.phone.code(traveller.now))
    new = traveller.enrol(account)
    assert new.phone.totp.secret != old.phone.totp.secret
    assert not set(new.backup_codes) & set(old.backup_codes)
    traveller.wait(60)
    assert not traveller.verify(account, old.phone.code(traveller.now))
    assert not traveller.backup_verify(account, old.backup_codes[2])
    assert traveller.verify(account, new.phone.code(traveller.now))
    assert traveller.backup_verify(account, new.backup_codes[2])


# A pending factor that somebody else may have created


def by_enrolment(client, dba, account):
    client.enrol(account)


def by_import(client, dba, account):
    dba.call("totp_import", account=account, uri="JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", label="moved")


def by_reset(client, dba, account):
    assert dba.call("totp_reset", account=account, reason="a test")[0]


def by_recovery(client, dba, account):
    assert client.recover(client.recovery(account))


def by_rename(client, dba, account):
    dba.call("totp_rename", account=account, new_account=f"{account}-x", reason="a test")
    dba.call("totp_rename", account=f"{account}-x", new_account=account, reason="a test")


CHANGES = [by_enrolment, by_import, by_reset, by_recovery, by_rename]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_factor_planted_before_a_change_of_factors_is_not_confirmed_after_it(
    app, dba, account, change
):
    evil = Authenticator(app.create(account, label="planted").uri)
    change(app, dba, account)
    before = app.status(account)
    assert not before.pending
    assert dba.value("SELECT pending FROM totp.account_status WHERE account = %s", account) is False
    with refused(NOT_THERE):
        app.confirm(account, evil.take(app.now), label="planted")
    assert app.status(account) == before
    labels = dba.rows("SELECT label FROM totp.account_factors(%s)", account)
    assert ("planted",) not in [tuple(row) for row in labels]


@pytest.mark.parametrize("method", ["totp_remove", "totp_disable"])
def test_a_factor_planted_before_a_removal_is_not_confirmed_after_it(app, dba, account, method):
    person = app.enrol(account)
    app.enrol(account, label="second")
    evil = Authenticator(app.create(account, label="planted").uri)
    label = {"label": "second"} if method == "totp_remove" else {}
    assert app.call(method, account=account, code=person.backup_codes[0], **label)[0]
    with refused(NOT_THERE):
        app.confirm(account, evil.take(app.now), label="planted")


def test_of_two_pending_factors_the_first_confirmed_voids_the_other(app, account):
    phone, tablet = (
        Authenticator(app.create(account, label=label).uri) for label in ("phone", "tablet")
    )
    assert app.confirm(account, phone.take(app.now), label="phone").confirmed
    with refused(NOT_THERE):
        app.confirm(account, tablet.code(app.now), label="tablet")
    tablet = Authenticator(app.create(account, label="tablet").uri)
    assert app.confirm(account, tablet.take(app.now), label="tablet").confirmed


def test_a_clock_that_is_set_back_keeps_nothing_planted_and_nobody_from_enrolling(
    traveller, account
):
    evil = Authenticator(traveller.create(account, label="planted").uri)
    traveller.wait(-600)
    traveller.enrol(account)
    with refused(NOT_THERE):
        traveller.confirm(account, evil.code(traveller.now), label="planted")
    traveller.wait(-600)
    assert traveller.enrol(account, label="second").backup_codes is None


def test_a_confirmation_with_an_older_snapshot_voids_what_was_planted_since(cluster, app, account):
    phone = Authenticator(app.create(account).uri)
    with cluster.connect("app", DATABASE) as connection:
        owner = Client(connection)
        owner.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert owner.status(account).pending
        evil = Authenticator(app.create(account, label="planted").uri)
        assert owner.confirm(account, phone.take(app.now)).confirmed
        owner.execute("COMMIT")
    with refused(NOT_THERE):
        app.confirm(account, evil.code(app.now), label="planted")


def test_twenty_planted_factors_do_not_keep_the_owner_from_enrolling(app, dba, account):
    for number in range(20):
        app.create(account, label=f"planted {number}")
    with refused("54000"):
        app.create(account, label="one more")
    app.enrol(account)
    # They are void, and count no longer.
    app.enrol(account, label="second")
    imported = f"{account}-imported"
    for number in range(20):
        app.create(imported, label=f"planted {number}")
    uri = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    assert dba.call("totp_import", account=imported, uri=uri)[0]


# A page that is loaded twice


def test_a_page_that_is_loaded_twice_can_show_the_same_secret(traveller, account):
    first = traveller.create(account, issuer="Acme", reuse=True)
    traveller.wait(59)
    assert traveller.create(account, issuer="Acme", reuse=True) == first
    traveller.wait(1)
    second = traveller.create(account, issuer="Acme", reuse=True)
    assert second.secret != first.secret
    assert traveller.confirm(account, Authenticator(second.uri).take(traveller.now)).confirmed
    assert traveller.create(account, issuer="Acme", reuse=True).secret != second.secret


@pytest.mark.parametrize(
    "change",
    [
        {"reuse": False},
        {"reuse": None},
        {"issuer": "Other"},
        {"account_name": "other"},
        {"algorithm": "SHA256"},
        {"digits": 8},
        {"period": 60},
        {"label": "other"},
    ],
    ids=str,
)
def test_only_the_same_request_shows_the_same_secret(app, account, change):
    first = app.create(account, reuse=True)
    assert app.create(account, **{"reuse": True, **change}).secret != first.secret


def test_a_secret_shown_again_is_in_the_audit_trail(app, dba, account):
    app.create(account)
    app.create(account, reuse=True)
    query = "SELECT event, detail FROM totp.audit_log WHERE account = %s ORDER BY id"
    assert [tuple(row) for row in dba.rows(query, account)] == [
        ("create", {"label": "default"}),
        ("create", {"label": "default", "reused": True}),
    ]


def test_a_voided_secret_is_not_shown_again(app, dba, account):
    first = app.create(account, label="tablet", reuse=True)
    app.enrol(account)
    assert app.create(account, label="tablet", reuse=True).secret != first.secret


# A clock that is wrong


@pytest.mark.parametrize("offset", [-86_400, -3600, -60, 60, 7200, 86_400])
def test_a_first_code_of_another_hour_tells_by_how_much_the_clock_is_off(
    traveller, dba, account, offset
):
    phone = Authenticator(traveller.create(account, digits=8).uri)
    code = phone.code(traveller.now + offset)
    refusal = traveller.confirm(account, code)
    assert (refusal.confirmed, refusal.backup_codes) == (False, None)
    assert (refusal.reason, refusal.clock_offset_seconds) == ("clock_off", offset)
    status = traveller.status(account)
    assert (status.enabled, status.pending, status.failures) == (False, True, 1)
    outcome = "SELECT outcome FROM totp.audit_log WHERE account = %s AND event = 'confirm'"
    assert dba.value(outcome, account) == "clock_off"
    right = traveller.confirm(account, phone.code(traveller.now))
    assert (right.confirmed, right.clock_offset_seconds) == (True, None)


def test_a_clock_that_is_off_locks_like_any_failure(traveller, account):
    phone = Authenticator(traveller.create(account, digits=8).uri)
    code = phone.code(traveller.now + 3600)
    fifth = [traveller.confirm(account, code) for _ in range(5)][-1]
    assert (fifth.reason, fifth.retry_after_seconds) == ("clock_off", 30)
    traveller.wait(0.5)
    locked = traveller.confirm(account, code)
    assert (locked.reason, locked.retry_after_seconds) == ("locked", 30)
    assert locked.clock_offset_seconds is None


def test_a_code_of_another_day_or_of_a_confirmed_factor_is_just_wrong(traveller, account):
    phone = Authenticator(traveller.create(account, digits=8).uri)
    refusal = traveller.confirm(account, phone.code(traveller.now + 86_430))
    assert (refusal.reason, refusal.clock_offset_seconds) == ("invalid", None)
    assert traveller.confirm(account, phone.code(traveller.now)).confirmed
    assert traveller.attempt(account, phone.code(traveller.now + 3600)).reason == "invalid"


# What is known of an account


def test_an_unknown_account_has_an_empty_status(app, account):
    assert app.is_enabled(account) is False
    nothing = (False, False, 0, 0, 0, None, False, None, None, "not_required", None)
    assert tuple(app.status(account)) == nothing
    assert app.backup_remaining(account) == 0


def test_the_status_tells_when_the_account_was_last_verified(traveller, account):
    person = traveller.enrol(account)
    assert traveller.status(account).last_verified_at.timestamp() == traveller.now
    traveller.wait(3600)
    assert traveller.verify(account, person.phone.code(traveller.now))
    assert traveller.status(account).last_verified_at.timestamp() == traveller.now
    traveller.fail(person, 1)
    traveller.wait(3600)
    assert traveller.status(account).last_verified_at.timestamp() == traveller.now - 3600


def by_rotation(client, dba, person):
    assert client.backup_rotate(person.account, person.backup_codes[0])


def by_reissue(client, dba, person):
    assert client.backup_verify(person.account, person.backup_codes[0])
    dba.call("backup_reissue", account=person.account, reason="a test")


def by_removal(client, dba, person):
    code = person.phone.code(client.now)
    assert client.call("totp_remove", account=person.account, label="default", code=code)[0]


def by_replacement(client, dba, person):
    client.enrol(person.account)


FORGETTING = [by_rotation, by_reissue, by_removal, by_replacement]


@pytest.mark.parametrize("forget", FORGETTING, ids=lambda forget: forget.__name__)
def test_the_last_verification_never_goes_back_in_time(traveller, dba, account, forget):
    """Each removes the row that tells of the code which was just accepted."""
    person = traveller.enrol(account)
    traveller.enrol(account, label="second")
    traveller.wait(3600)
    forget(traveller, dba, person)
    last = traveller.status(account).last_verified_at
    assert last.timestamp() == traveller.now
    report = "SELECT last_verified_at FROM totp.account_status WHERE account = %s"
    assert dba.value(report, account) == last
    # Without a second factor, there is nothing to tell.
    (codes,) = dba.call("backup_reissue", account=account, reason="a test")
    assert traveller.disable(account, codes[0])
    assert traveller.status(account).last_verified_at is None
    assert dba.value(report, account) is None
