"""The five calls with psycopg 3. README.md says how to run this."""

import sys

import psycopg

db = psycopg.connect(autocommit=True)  # a refused code is committed, too: it counts
account = sys.argv[1]


def row(query, *parameters):
    """The row of an answer; None is a no."""
    return db.execute(query, parameters).fetchone()


def phone(wait):
    query = "SELECT totp.totp_code(%s, clock_timestamp() + %s * interval '1 s')"
    return row(query, secret, wait)[0]


secret, uri = row("SELECT secret, uri FROM totp.totp_create(%s)", account)
confirm = "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm(%s, %s) WHERE confirmed"
print("wrong code confirms:", row(confirm, account, "00000000") is not None)
codes = row(confirm, account, phone(0))[0].split()
print("backup codes:", len(codes))

print("needs a code:", row("SELECT 1 WHERE totp.totp_enabled(%s)", account) is not None)
attempt = "SELECT 1 FROM totp.totp_attempt(%s, %s) WHERE verified"
print("wrong code:", row(attempt, account, "00000000") is not None)
print("right code:", row(attempt, account, phone(30)) is not None)
backup = "SELECT 1 WHERE totp.backup_verify(%s, %s)"
print("backup code:", row(backup, account, codes[0]) is not None)
print("same again:", row(backup, account, codes[0]) is not None)

wait = "SELECT retry_after_seconds FROM totp.totp_attempt(%s, %s) WHERE retry_after_seconds > 0"
for _ in range(5):
    locked = row(wait, account, "00000000")
print("locked for seconds:", locked[0])
