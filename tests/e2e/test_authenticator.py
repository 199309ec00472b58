"""Authenticators that know nothing of us: oathtool and pyotp confirm and verify."""

import subprocess
import time

import pyotp
import pytest

KINDS = [
    {},
    {"algorithm": "SHA256"},
    {"algorithm": "SHA512", "digits": 8},
    {"digits": 7, "period": 60},
    {"period": 120},
]


def oathtool(secret, moment, algorithm="SHA1", digits=6, period=30):
    """The code that the command line tool computes from the base32 secret."""
    command = ["oathtool", f"--totp={algorithm}", "-b", secret, f"--digits={digits}"]
    command += [f"--time-step-size={period}s", f"--now=@{int(moment)}"]
    return subprocess.check_output(command, text=True).strip()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_codes_of_oathtool_confirm_and_verify(app, account, kind):
    secret = app.create(account, **kind).secret
    period = kind.get("period", 30)
    assert app.confirm(account, oathtool(secret, time.time(), **kind)).confirmed
    assert app.verify(account, oathtool(secret, time.time() + period, **kind))
    assert not app.verify(account, oathtool(secret, time.time() + period, **kind))


def test_the_plain_command_of_the_manual_confirms_and_verifies(app, account):
    secret = app.create(account).secret
    now = ["oathtool", "--totp", "-b", secret]
    assert app.confirm(account, subprocess.check_output(now, text=True)).confirmed
    later = [*now, "--now", f"@{int(time.time()) + 30}"]
    assert app.verify(account, subprocess.check_output(later, text=True))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_codes_of_pyotp_confirm_and_verify(app, account, kind):
    phone = pyotp.parse_uri(app.create(account, **kind).uri)
    assert app.confirm(account, phone.now()).confirmed
    assert app.verify(account, phone.at(int(time.time()), counter_offset=1))
    assert not app.verify(account, phone.at(int(time.time()), counter_offset=1))


def test_the_server_accepts_what_pyotp_accepts_at_random_times(traveller, account, dice):
    person = traveller.enrol(account)
    for _ in range(50):
        traveller.wait(dice.uniform(150, 1_000_000))
        assert traveller.verify(account, person.phone.code(traveller.now, dice.choice([-1, 0, 1])))
