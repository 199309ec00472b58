"""The vectors of RFC 4226, appendix D and RFC 6238, appendix B, and independent peers, in SQL."""

import base64
import csv
import hashlib
import subprocess

import pyotp
import pytest

from cluster import ROOT

VECTORS = ROOT / "tests" / "vectors"
AT_STEP = "to_timestamp(%s::float8)"


def vectors(name):
    with (VECTORS / name).open() as file:
        return list(csv.DictReader(file))


def base32(seed):
    return base64.b32encode(seed.encode()).decode()


@pytest.mark.parametrize("row", vectors("rfc4226.csv"), ids=lambda row: row["counter"])
def test_totp_code_gives_the_value_of_rfc_4226(stranger, row):
    secret = base32("12345678901234567890")
    query = f"SELECT totp.totp_code(%s, {AT_STEP})"
    assert stranger.value(query, secret, int(row["counter"]) * 30) == row["code"]
    assert stranger.value(query, secret, int(row["counter"]) * 30 + 29) == row["code"]


def name_of(row):
    return f"{row['algorithm']}-{row['time']}"


@pytest.mark.parametrize("row", vectors("rfc6238.csv"), ids=name_of)
def test_totp_code_gives_the_value_of_rfc_6238(stranger, row):
    query = f"SELECT totp.totp_code(%s, {AT_STEP}, algorithm => %s, digits => 8)"
    secret = base32(row["seed"])
    assert stranger.value(query, secret, int(row["time"]), row["algorithm"]) == row["code"]


@pytest.mark.parametrize("row", vectors("rfc6238.csv"), ids=name_of)
def test_totp_check_takes_the_value_of_rfc_6238_in_its_window_only(stranger, row):
    query = f"SELECT totp.totp_check(%s, %s, {AT_STEP}, %s, 8, drift_steps => %s)"
    secret, code, algorithm = base32(row["seed"]), row["code"], row["algorithm"]

    def check(away, drift_steps):
        # Counted in steps from 0: no step lies before 1970.
        moment = max(0, int(row["time"]) + 30 * away)
        return stranger.value(query, secret, code, moment, algorithm, drift_steps)

    assert check(0, 0)
    assert check(1, 1) and check(-1, 1)
    assert not check(1, 0) and not check(2, 1) and not check(-2, 0)
    assert check(5, 5)


def test_totp_check_wants_all_digits_of_a_code_with_a_leading_zero(stranger):
    query = f"SELECT totp.totp_check(%s, %s, {AT_STEP}, digits => 8)"
    secret = base32("12345678901234567890")
    assert stranger.value(query, secret, "07081804", 1111111109)
    assert not stranger.value(query, secret, "7081804", 1111111109)
    assert not stranger.value(query, secret, "081804", 1111111109)


def test_random_secrets_and_times_give_the_codes_of_pyotp(stranger, dice):
    query = f"SELECT totp.totp_code(%s, {AT_STEP}, %s, %s, %s)"
    for _ in range(300):
        # pyotp takes no less than 112 bits.
        secret = base64.b32encode(dice.randbytes(dice.randint(14, 128))).decode().rstrip("=")
        algorithm = dice.choice(["SHA1", "SHA256", "SHA512"])
        digits, period = dice.randint(6, 8), dice.randint(1, 120)
        moment = dice.randrange(0, 250_000_000_000)
        digest = getattr(hashlib, algorithm.lower())
        peer = pyotp.TOTP(secret, digits=digits, digest=digest, interval=period)
        code = stranger.value(query, secret, moment, algorithm, digits, period)
        assert code == peer.at(moment), (secret, moment, algorithm, digits, period)


def test_random_secrets_and_times_give_the_codes_of_oathtool(stranger, dice):
    query = f"SELECT totp.totp_code(%s, {AT_STEP}, %s, %s, %s)"
    for _ in range(20):
        secret = base64.b32encode(dice.randbytes(dice.randint(10, 64))).decode()
        algorithm = dice.choice(["SHA1", "SHA256", "SHA512"])
        digits, period = dice.randint(6, 8), dice.randint(1, 120)
        moment = dice.randrange(0, 4_000_000_000)
        command = ["oathtool", f"--totp={algorithm}", "-b", secret, f"--digits={digits}"]
        command += [f"--time-step-size={period}s", f"--now=@{moment}"]
        code = subprocess.check_output(command, text=True).strip()
        assert stranger.value(query, secret, moment, algorithm, digits, period) == code, command
