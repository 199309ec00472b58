"""Logins in two steps, from the password to the JSON Web Token, which other programs check."""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import time

import jwt
import pytest

from client import Client
from cluster import ROOT, until
from conftest import DATABASE
from jwt_secret import JwtSecret
from refusal import BAD_ARGUMENT, NO_KEY, denied, refused

EXAMPLES = ROOT / "examples"
NODE = ROOT / "tests" / "e2e" / "node"
ALICE = {"sub": "alice", "n": 7, "groups": ["a", "ü"], "null": None}


@pytest.fixture(scope="module")
def secret(cluster):
    """The secret that the server signs with."""
    with JwtSecret(cluster) as secret:
        yield secret


@pytest.fixture(scope="module")
def backend(cluster):
    """A role for the application's backend, as the examples want it."""
    cluster.execute(
        "CREATE ROLE backend LOGIN IN ROLE totp_app",
        "GRANT EXECUTE ON FUNCTION totp.jwt_sign(jsonb) TO backend",
        dbname=DATABASE,
    )
    yield "backend"
    cluster.execute("DROP OWNED BY backend", "DROP ROLE backend", dbname=DATABASE)


def run(cluster, role, secret, *command, cwd=None):
    """Runs a program of an example; what it prints, when it succeeds."""
    variables = {"PGUSER": role, "PGDATABASE": DATABASE, "JWT_SECRET": secret.text}
    environment = {**os.environ, **cluster.variables, **variables}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_login_for_psycopg_runs(cluster, backend, secret):
    output = run(cluster, backend, secret, sys.executable, EXAMPLES / "python" / "login.py")
    assert output.startswith("logged in: ") and "aal2" in output


def test_the_login_for_node_runs(cluster, backend, secret, tmp_path):
    shutil.copy(EXAMPLES / "node" / "login.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    output = run(cluster, backend, secret, "node", "login.mjs", cwd=tmp_path)
    assert output.startswith("logged in: ") and "aal2" in output


# Tokens


def sign(client, claims):
    return client.value("SELECT totp.jwt_sign(%s::jsonb)", json.dumps(claims))


def decode(token, secret, **options):
    return jwt.decode(token, secret.text, algorithms=["HS256"], **options)


@pytest.fixture
def administrator(cluster, secret):
    with cluster.connect("administrator", DATABASE) as connection:
        yield Client(connection)


def test_pyjwt_reads_what_was_signed(administrator, secret):
    before = int(time.time())
    claims = decode(sign(administrator, ALICE), secret)
    assert before <= claims["iat"] <= time.time()
    assert claims.pop("exp") == claims.pop("iat") + 3_600
    assert claims == ALICE


def test_another_secret_does_not_check(administrator, secret):
    token = sign(administrator, ALICE)
    for other in (secret.text + "\n", secret.text[:-1], secret.text.upper()):
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, other, algorithms=["HS256"])
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_a_token_can_end_earlier(administrator, secret):
    ended = sign(administrator, {**ALICE, "exp": 1})
    with pytest.raises(jwt.ExpiredSignatureError):
        decode(ended, secret)


def test_a_token_ends_as_totp_jwt_ttl_says(dba, secret):
    dba.execute("SET totp.jwt_ttl = '10 min'")
    claims = decode(sign(dba, {}), secret)
    dba.execute("RESET totp.jwt_ttl")
    assert claims["exp"] - claims["iat"] == 600


def test_amr_is_written_as_rfc_8176_has_it(administrator, app, dba, cluster, secret, account):
    """Strings of the registry instead of objects, in signed claims and in access tokens."""
    person = app.enrol(account)
    methods = [{"method": "password", "timestamp": 1}, {"method": "totp", "timestamp": 2}]
    query = "SELECT access_token FROM totp_api.challenge_verify(%s, %s)"

    def access():
        token = dba.value(query, app.challenge(account), person.backup_codes.pop())
        return decode(token, secret)

    assert decode(sign(administrator, {"amr": methods}), secret)["amr"] == methods
    assert access()["amr"][0]["method"] == "backup" and "acr" not in access()
    cluster.configure(totp__amr="rfc8176")
    signed = decode(sign(administrator, {"amr": methods}), secret)
    assert (signed["amr"], signed["acr"]) == (["pwd", "otp", "mfa"], "aal2")
    assert "acr" not in decode(sign(administrator, ALICE), secret)
    claims = access()
    assert (claims["amr"], claims["acr"], claims["aal"]) == (["otp", "mfa"], "aal2", "aal2")
    cluster.configure(totp__amr=None)


@pytest.mark.parametrize("claims", [[], 7, "text", None, True])
def test_only_an_object_is_signed(administrator, claims):
    with refused(BAD_ARGUMENT):
        sign(administrator, claims)


def test_what_is_signed_is_not_audited(dba, secret):
    count = "SELECT count(*) FROM totp.audit_log"
    before = dba.value(count)
    assert dba.value("SELECT totp.jwt_sign('{}')")
    assert dba.value(count) == before


def test_nobody_signs_without_the_right(app, stranger, secret):
    for client in (app, stranger):
        with denied():
            sign(client, ALICE)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", 0o600),
        ("x" * 31, 0o600),
        ("x" * 31 + "\n", 0o600),
        ("x" * 32, 0o640),
        (None, 0),
        ("\ufeff" + "x" * 32, 0o600),
        ("x" * 32 + "\r\n", 0o600),
        (f"-----BEGIN PUBLIC KEY-----\n{'x' * 64}\n-----END PUBLIC KEY-----\n", 0o600),
        ('{"kty": "RSA", "n": "xxxx", "e": "AQAB"}', 0o600),
        ('{"kty": "oct", "k": "' + "x" * 42 + '"}', 0o600),
        ('{"kty": "oct", "alg": "HS512", "k": "' + "x" * 64 + '"}', 0o600),
        ('{"keys": []}', 0o600),
        ('{"type": "HS256", "key": "' + "x" * 64 + '"}', 0o600),
    ],
    ids=[
        *("empty", "31 bytes", "31 bytes and a line end", "readable for others", "missing"),
        *("a byte order mark", "a DOS line end", "PEM", "an RSA key", "a short key", "another alg"),
        *("no key", "other JSON"),
    ],
)
def test_a_secret_that_is_none_signs_nothing(administrator, secret, text, mode):
    secret.path.unlink()
    if text is not None:
        secret.write(text, mode)
    try:
        with refused(NO_KEY, without=["xxxx"]):
            sign(administrator, ALICE)
    finally:
        secret.write(f"{secret.text}\n")
    assert decode(sign(administrator, ALICE), secret)["sub"] == "alice"


def as_jwk(secret, **members):
    k = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return {"kty": "oct", "k": k, **members}


RAW = secrets.token_bytes(48)
RSA = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
FORMS = {
    "base64": (base64.b64encode(RAW).decode(), True),
    "url-safe base64": (base64.urlsafe_b64encode(RAW).decode().rstrip("="), True),
    "a JSON Web Key": (json.dumps(as_jwk(RAW, alg="HS256", use="sig", kid="1")), False),
    "a key set": (json.dumps({"keys": [RSA, as_jwk(RAW)]}, indent=1), False),
    "a JSON Web Key in base64": (base64.b64encode(json.dumps(as_jwk(RAW)).encode()).decode(), True),
}


@pytest.fixture
def jwt_settings(cluster):
    """A function that sets totp.jwt_secret_*; all are as they were, afterwards."""
    changed = set()

    def configure(**settings):
        settings = {f"totp__jwt_secret_{name}": value for name, value in settings.items()}
        changed.update(settings)
        cluster.configure(**settings)

    yield configure
    cluster.configure(**dict.fromkeys(changed))


@pytest.mark.parametrize(("text", "is_base64"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("source", ["file", "command"])
def test_a_secret_may_have_every_form_that_postgrest_reads(
    administrator, secret, jwt_settings, text, is_base64, source
):
    secret.write(f"{text}\n")
    jwt_settings(base64="on" if is_base64 else "off")
    if source == "command":
        jwt_settings(command=f"cat {secret.path.name} > /dev/stdout")
    try:
        token = sign(administrator, ALICE)
    finally:
        secret.write(f"{secret.text}\n")
    assert jwt.decode(token, RAW, algorithms=["HS256"])["sub"] == "alice"


def test_the_command_for_the_secret_runs_once_in_a_session(
    administrator, secret, jwt_settings, cluster
):
    count = cluster.data_dir / "count"
    command = f"echo x >> count; cat {secret.path.name}"
    jwt_settings(command=command)
    for _ in range(3):
        assert decode(sign(administrator, ALICE), secret)["sub"] == "alice"
    assert count.read_text().count("x") == 1
    # And again when the setting changes, or its form.
    jwt_settings(command=f"{command} # again")
    sign(administrator, ALICE)
    assert count.read_text().count("x") == 2
    jwt_settings(base64="on")
    with pytest.raises(jwt.InvalidSignatureError):
        decode(sign(administrator, ALICE), secret)
    count.unlink()


FAILURES = {
    "fails": f"echo {'x' * 32}; exit 1",
    "is not there": "/nonexistent/vault",
    "prints nothing": "true",
    "prints a short secret": "echo xxxx",
    "prints garbage": "head -c 1000 /dev/urandom",
    "prints without end": "yes xxxx",
}


@pytest.mark.parametrize("command", FAILURES.values(), ids=FAILURES.keys())
def test_a_command_for_the_secret_that_fails_signs_nothing(
    administrator, secret, jwt_settings, command
):
    # The file is not used instead.
    jwt_settings(command=command)
    with refused(NO_KEY, without=["xxxx", "vault", "jwt.secret"]):
        sign(administrator, ALICE)
    jwt_settings(command=f"cat {secret.path.name}")
    assert decode(sign(administrator, ALICE), secret)["sub"] == "alice"


def test_a_command_for_the_secret_complains_to_the_log_without_the_secret(
    administrator, cluster, secret, jwt_settings
):
    before = len(cluster.log)
    jwt_settings(command=f"cat {secret.path.name}; set -x; true $(cat {secret.path.name})")
    sign(administrator, ALICE)
    until(
        lambda: "totp.jwt_secret_command: " in cluster.log[before:], what="the trace of the shell"
    )
    assert secret.text not in cluster.log[before:]
    # The shortest secret is also left out.
    shortest = "s" * 32
    jwt_settings(command=f"echo {shortest}; echo no {shortest} >&2")
    sign(administrator, ALICE)
    until(lambda: "no [left out]" in cluster.log[before:], what="the complaint")


# Logins by totp_api


@pytest.fixture
def anonymous(cluster, secret):
    """Somebody whose browser has no token yet."""
    with cluster.connect("self_service", DATABASE) as connection:
        yield Client(connection)


def answer(client, *arguments):
    places = ", ".join(["%s"] * len(arguments))
    return client.row(f"SELECT * FROM totp_api.challenge_verify({places})", *arguments)


def test_a_challenge_that_is_met_gives_a_token_of_its_account(anonymous, app, secret, account):
    person = app.enrol(account)
    token = app.call("challenge_create", account=account, claims='{"org": 7, "sub": "root"}')[0]
    row = answer(anonymous, token, person.phone.take(app.now))
    assert (row.verified, row.account, row.method, row.reason) == (True, account, "totp", "ok")
    claims = decode(row.access_token, secret)
    assert (claims["sub"], claims["role"], claims["aal"]) == (account, "authenticated", "aal2")
    assert (claims["org"], claims["amr"][0]["method"]) == (7, "totp")
    again = answer(anonymous, token, person.backup_codes[0])
    assert (again.verified, again.reason, again.access_token) == (False, "spent", None)


def test_its_session_is_verified(anonymous, app, cluster, secret, account):
    person = app.enrol(account)
    row = answer(anonymous, app.challenge(account), person.backup_codes[0])
    claims = json.dumps(decode(row.access_token, secret))
    with cluster.connect(dbname=DATABASE) as connection:
        client = Client(connection)
        client.execute("SET totp.jwt_logins = 'postgres'")
        client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        assert client.value("SELECT totp.current_account()") == account
        assert client.value("SELECT totp.totp_verified('1 min')") is True


@pytest.mark.parametrize("change", ["code", "binding", "purpose", "token"])
def test_a_challenge_that_is_not_met_gives_none(anonymous, app, account, change):
    person = app.enrol(account)
    purpose = "transfer" if change == "purpose" else "login"
    token = app.challenge(account, binding="cookie", purpose=purpose)
    arguments = {"token": token, "code": person.backup_codes[0], "binding": "cookie"}
    wrong = {"code": person.phone.wrong(app.now), "binding": "other", "token": token[:-1]}
    arguments.update({change: wrong[change]} if change in wrong else {})
    row = answer(anonymous, *arguments.values())
    assert (row.verified, row.reason, row.access_token) == (False, "invalid", None)


def test_without_a_secret_no_code_is_spent(anonymous, app, secret, account):
    person = app.enrol(account)
    token = app.challenge(account)
    secret.path.unlink()
    try:
        with refused(NO_KEY):
            answer(anonymous, token, person.backup_codes[0])
    finally:
        secret.write(f"{secret.text}\n")
    assert answer(anonymous, token, person.backup_codes[0]).verified


def test_a_refusal_does_not_tell_whose_challenge_it_was(anonymous, app, account):
    """Nor whether there is such an account."""
    app.enrol(account)
    rows = [answer(anonymous, app.challenge(name), "1234567") for name in (account, "nobody")]
    assert rows[0] == rows[1]
    assert (rows[0].reason, rows[0].account) == ("invalid", None)


def test_a_secret_that_is_too_short_spends_no_code(anonymous, app, secret, account):
    person = app.enrol(account)
    token, code = app.challenge(account), person.phone.take(app.now)
    secret.write("short")
    try:
        with refused(NO_KEY, without=[str(secret.path), secret.path.name]):
            answer(anonymous, token, code)
    finally:
        secret.write(f"{secret.text}\n")
    assert answer(anonymous, token, code).verified


def test_the_claim_that_names_accounts_is_not_the_applications(cluster, app, dba, secret, account):
    person = app.enrol(account)
    token = app.challenge(account, claims='{"email": "root@example.com"}')
    dba.execute("ALTER ROLE self_service SET totp.jwt_claim = 'email'")
    try:
        with cluster.connect("self_service", DATABASE) as connection:
            row = answer(Client(connection), token, person.phone.take(app.now))
    finally:
        dba.execute("ALTER ROLE self_service RESET totp.jwt_claim")
    assert decode(row.access_token, secret)["email"] == account


@pytest.mark.parametrize("expiry", [None, "soon", 1.5, [1]])
def test_an_end_that_is_no_time_is_refused(administrator, secret, expiry):
    with refused(BAD_ARGUMENT):
        sign(administrator, {"exp": expiry})


def test_large_numbers_are_signed_as_they_are(administrator, secret):
    token = administrator.value("SELECT totp.jwt_sign(%s)", '{"n": 123456789012345678901}')
    assert decode(token, secret)["n"] == 123456789012345678901
