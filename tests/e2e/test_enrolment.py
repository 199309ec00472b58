"""From a new secret to a confirmed factor, its replacement, and its end."""

import pytest

from authenticator import Authenticator
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
    phone = Authenticator(app.create(account).uri)
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


def test_an_unknown_account_has_an_empty_status(app, account):
    assert app.is_enabled(account) is False
    assert tuple(app.status(account)) == (False, False, 0, 0, 0, None, False, None)
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
