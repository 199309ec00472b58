"""Two-step login with psycopg 3 and PyJWT: password, then code, which returns a JSON Web Token.

    pip install "psycopg[binary]" pyjwt
    PGHOST=... PGDATABASE=... PGUSER=... JWT_SECRET=... python login.py

JWT_SECRET is the content of totp.jwt_secret_file. Your API server uses it to check tokens. The login
role needs `GRANT totp_app TO <role>` and `GRANT EXECUTE ON FUNCTION totp.jwt_sign(jsonb) TO <role>`.
The database needs `CREATE EXTENSION totp` and a key.
"""

import hashlib
import hmac
import os
import secrets
import time
import uuid

import jwt
import psycopg
from psycopg.types.json import Jsonb

db = psycopg.connect("", autocommit=True)


def call(query, *parameters):
    """Returns the only row of a query, or None."""
    return db.execute(query, parameters).fetchone()


def slow_hash(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


# Your table of users. Its key, as text, is the account.
db.execute("""
    CREATE TEMPORARY TABLE users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), login text UNIQUE, salt bytea, hash bytea)
""")
salt = secrets.token_bytes(16)
row = salt, slow_hash("correct horse", salt)
db.execute("INSERT INTO users (login, salt, hash) VALUES ('alice', %s, %s)", row)


# The two requests that your backend handles. `browser` identifies the client: the value of a cookie
# that you set earlier.


def first_step(login, password, browser):
    """Checks name and password. Returns a token if no code is needed, otherwise a challenge."""
    user = call("SELECT id::text, salt, hash FROM users WHERE login = %s", login)
    # Takes just as long for an unknown name.
    account, salt, expected = user or ("", b"0" * 16, b"")
    if not hmac.compare_digest(slow_hash(password, salt), expected):
        return {"error": "name or password is wrong"}
    if not call("SELECT totp.totp_enabled(%s)", account)[0]:
        return {"token": signed(account, "pwd")}
    create = "SELECT totp.challenge_create(%s, binding => %s)"
    return {"challenge": call(create, account, browser)[0]}


def second_step(challenge, code, browser):
    """Checks the challenge and a TOTP or backup code. Returns a token if both are right."""
    verify = "SELECT verified, account, method, reason FROM totp.challenge_verify(%s, %s, %s)"
    verified, account, method, reason = call(verify, challenge, code, browser)
    if verified:
        return {"token": signed(account, method)}
    # refused, expired, spent: ask for the password again. invalid: another attempt. locked: later.
    return {"error": "refused" if reason == "invalid" and account is None else reason}


def signed(account, method):
    level = "aal1" if method == "pwd" else "aal2"
    jti = str(uuid.uuid4())  # identifies the session
    claims = Jsonb({"sub": account, "aal": level, "role": "authenticated", "jti": jti})
    return call("SELECT totp.jwt_sign(%s)", claims)[0]


# What your API server does with the token.
def checked(token):
    return jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"])


# Alice has no authenticator app yet, so the password is enough.
alice = call("SELECT id::text FROM users")[0]
claims = checked(first_step("alice", "correct horse", "cookie")["token"])
assert (claims["sub"], claims["aal"]) == (alice, "aal1")

# She turns it on: see examples/clients/two_factor.py. totp_code plays her phone.
(secret,) = call("SELECT secret FROM totp.totp_create(%s, issuer => 'Acme')", alice)
phone = "SELECT totp.totp_code(%s, clock_timestamp() + %s * interval '1 s')"
(confirmation,) = call(phone, secret, 0)
(backup_codes,) = call("SELECT backup_codes FROM totp.totp_confirm(%s, %s)", alice, confirmation)

# From now on, the password returns a challenge.
assert first_step("alice", "wrong", "cookie") == first_step("nobody", "wrong", "cookie")
challenge = first_step("alice", "correct horse", "cookie")["challenge"]
assert second_step(challenge, "000000", "cookie") == {"error": "invalid"}
(code,) = call(phone, secret, 30)
assert second_step(challenge, code, "another cookie") == {"error": "refused"}
claims = checked(second_step(challenge, code, "cookie")["token"])
assert (claims["sub"], claims["aal"]) == (alice, "aal2") and claims["exp"] > time.time()
assert second_step(challenge, backup_codes[0], "cookie") == {"error": "spent"}

# Without her phone, a backup code works.
challenge = first_step("alice", "correct horse", "cookie")["challenge"]
claims = checked(second_step(challenge, backup_codes[0], "cookie")["token"])
assert claims["sub"] == alice
print("logged in:", claims)
