"""Two-factor authentication for one account, from enrolment to recovery, with psycopg 3.

    pip install "psycopg[binary]"
    PGHOST=... PGDATABASE=... PGUSER=... python two_factor.py

The login role needs `GRANT totp_app TO <role>`. The database needs `CREATE EXTENSION totp` and a
key.
"""

import uuid

import psycopg

# With autocommit, each call is a transaction. Without it, commit even after a refused code: your
# transaction counts the failure. Put a payment and the code that authorizes it in one transaction.
db = psycopg.connect("", autocommit=True)


def call(query, *parameters):
    """Returns the only row of a query. Pass codes as parameters; never put them into SQL."""
    return db.execute(query, parameters).fetchone()


def phone(secret, wait=0):
    """Plays the authenticator app. In your application, this is an input field."""
    query = "SELECT totp.totp_code(%s, clock_timestamp() + %s * interval '1 s')"
    return call(query, secret, wait)[0]


# Your own key for the user, as text. Prefer one that never changes to an email address.
account = f"example-{uuid.uuid4()}"

# 1. A logged-in user turns it on. Show the QR code, and the secret to type in; store neither.
secret, uri, qr_svg = call(
    "SELECT * FROM totp.totp_create(%s, issuer => 'Acme', account_name => 'alice')", account
)
print(call("SELECT totp.qr_text(%s)", uri)[0])
print(f"secret {secret}, QR code of {len(qr_svg)} bytes")

# 2. The first code proves that the app works, and returns the backup codes: show them once.
confirmed, backup_codes, reason = call(
    "SELECT confirmed, backup_codes, reason FROM totp.totp_confirm(%s, %s)", account, phone(secret)
)
assert confirmed, reason
print("backup codes:", *backup_codes)

# 3. A login, after the password check: is a code needed?
assert call("SELECT totp.totp_enabled(%s)", account)[0]

# 4. Yes: check the code that was typed. The first is spent, so this is the phone's next one.
code = phone(secret, wait=30)
assert call("SELECT totp.totp_verify(%s, %s)", account, code)[0] is True
assert call("SELECT totp.totp_verify(%s, %s)", account, code)[0] is False, "a code is accepted once"

# totp_attempt accepts both kinds of code from one input field, and says what to tell the user.
verdict = call(
    "SELECT verified, reason, retry_after FROM totp.totp_attempt(%s, %s)", account, "000000"
)
print("a wrong code:", verdict)

# 5. The phone is lost: a backup code logs in, once.
assert call("SELECT totp.backup_verify(%s, %s)", account, backup_codes[0])[0] is True
print("backup codes left:", call("SELECT totp.backup_remaining(%s)", account)[0])

# A wrong code is never an error. After 55P03, try again; the others are for your log.
try:
    call("SELECT totp.totp_verify(%s, %s)", "", code)
except psycopg.Error as error:
    print("an error:", error.sqlstate, error.diag.message_primary)

# Turning it off requires a code, too.
assert call("SELECT totp.totp_disable(%s, %s)", account, backup_codes[1])[0] is True
assert not call("SELECT totp.totp_enabled(%s)", account)[0]
