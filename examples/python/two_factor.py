"""Two-factor authentication of one account, from enrolment to recovery, with psycopg 3.

    pip install "psycopg[binary]"
    PGHOST=... PGDATABASE=... PGUSER=... python two_factor.py

The login role needs `GRANT totp_app TO <role>`, the database `CREATE EXTENSION totp` and a key.
"""

import uuid

import psycopg

# With autocommit each call is a transaction. Without it, commit after a refused code too: the
# failure is counted in your transaction. A payment and the code that permits it belong in one.
db = psycopg.connect("", autocommit=True)


def call(query, *parameters):
    """The only row of a query. Its parameters travel apart from it: never put a code into SQL."""
    return db.execute(query, parameters).fetchone()


def phone(secret, wait=0):
    """Plays the authenticator app. In your application this is a field that a person fills."""
    query = "SELECT totp.totp_code(%s, clock_timestamp() + %s * interval '1 s')"
    return call(query, secret, wait)[0]


# The key of your users, as text: rather one that never changes than an e-mail address.
account = f"example-{uuid.uuid4()}"

# 1. A logged-in user switches it on. Show the picture, and the secret for typing; keep neither.
secret, uri, qr_svg = call(
    "SELECT * FROM totp.totp_create(%s, issuer => 'Acme', account_name => 'alice')", account
)
print(call("SELECT totp.qr_text(%s)", uri)[0])
print(f"secret {secret}, picture of {len(qr_svg)} bytes")

# 2. The first code proves that the app works, and brings the backup codes: show them once.
confirmed, backup_codes, reason = call(
    "SELECT * FROM totp.totp_confirm(%s, %s)", account, phone(secret)
)
assert confirmed, reason
print("backup codes:", *backup_codes)

# 3. A login, after the password was right: is a code needed?
assert call("SELECT totp.totp_enabled(%s)", account)[0]

# 4. Yes: check the one that was typed. The first code is spent, so this is the phone's next one.
code = phone(secret, wait=30)
assert call("SELECT totp.totp_verify(%s, %s)", account, code)[0] is True
assert call("SELECT totp.totp_verify(%s, %s)", account, code)[0] is False, "a code is accepted once"

# totp_attempt takes either kind of code from one input field, and says what to tell the user.
verdict = call(
    "SELECT verified, reason, retry_after FROM totp.totp_attempt(%s, %s)", account, "000000"
)
print("a wrong code:", verdict)

# 5. The phone is lost: a backup code logs in, once.
assert call("SELECT totp.backup_verify(%s, %s)", account, backup_codes[0])[0] is True
print("backup codes left:", call("SELECT totp.backup_remaining(%s)", account)[0])

# Errors are never about the code. 55P03 may be tried again, the others are for your log.
try:
    call("SELECT totp.totp_verify(%s, %s)", "", code)
except psycopg.Error as error:
    print("an error:", error.sqlstate, error.diag.message_primary)

# Switching it off takes a code as well.
assert call("SELECT totp.totp_disable(%s, %s)", account, backup_codes[1])[0] is True
assert not call("SELECT totp.totp_enabled(%s)", account)[0]
