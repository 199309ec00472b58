"""Moving from services with a PostgreSQL database: Keycloak, Supabase Auth, better-auth."""

import base64
import json
import time

import psycopg
import pyotp
import pytest

import peer
from cluster import ROOT
from mover import assert_app_works, place_to_move_to
from refusal import BAD_ARGUMENT, refused

VECTORS = ROOT / "tests" / "vectors" / "import"
REALM = (VECTORS / "keycloak-realm.json").read_text()
USERS = {user["username"]: user for user in json.loads(REALM)["users"]}
HASHED = "only hashes of the backup codes are stored; issue new ones with backup_reissue"


@pytest.fixture(scope="module")
def place(cluster):
    with place_to_move_to(cluster) as (name, mover):
        yield name, mover


@pytest.fixture
def mover(place):
    _, mover = place
    for (account,) in mover.rows("SELECT account FROM totp.account_status"):
        mover.execute("SELECT totp.totp_forget(%s, 'the next test')", account)
    mover.travel(mover.START)
    return mover


def uri_of(secret, **parameters):
    """What an app has for a secret that is raw ASCII."""
    encoded = base64.b32encode(secret.encode()).decode().rstrip("=")
    return pyotp.TOTP(encoded, **parameters).provisioning_uri(name="x")


def assert_keycloak_moved(mover, rows):
    of = {name: rows.get(user["id"]) for name, user in USERS.items()}
    assert of["alice"][1:] == (1, 0, None)
    assert of["bob"][1:] == (2, 0, None)
    assert of["carol"][1:] == (0, 0, "the codes are counter-based (HOTP)")
    assert of["dave"][1:] == (1, 0, HASHED)
    assert of["erin"] is None
    id_of = {name: user["id"] for name, user in USERS.items()}
    assert_app_works(mover, id_of["alice"], uri_of("kQ7mZr2Xw9LbTn4VcYhD"))
    assert_app_works(mover, id_of["bob"], uri_of("P3sYtG8vJq5RfWd6KzNa"))
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    uri = f"otpauth://totp/x?secret={secret}&digits=8&period=60&algorithm=SHA256"
    assert_app_works(mover, id_of["bob"], uri)
    assert_app_works(mover, id_of["dave"], uri_of("Zx9Cv8Bn7Ml6Kj5Hg4Fd"))
    labels = {(row.account, row.label) for row in mover.stored()}
    assert (id_of["alice"], "alice's phone") in labels
    assert {(id_of["bob"], "phone"), (id_of["bob"], "phone 2")} <= labels
    assert (id_of["dave"], "default") in labels


def test_the_export_of_a_realm_is_imported(mover):
    dry = mover.import_("keycloak", document=REALM, dry_run=True)
    assert mover.stored() == []
    rows = mover.import_("keycloak", document=REALM)
    assert rows == dry
    assert_keycloak_moved(mover, rows)
    again = mover.import_("keycloak", document=REALM)
    assert all(row.factors == 0 for row in again.values())


def test_the_table_of_keycloak_is_imported(mover):
    """With the columns of Keycloak's own migrations."""
    mover.execute("""
        CREATE TEMPORARY TABLE credential (
            id varchar(36) PRIMARY KEY, salt bytea, type varchar(255), user_id varchar(36),
            created_date bigint, user_label varchar(255), secret_data text, credential_data text,
            priority integer)
    """)
    for user in USERS.values():
        for it in user["credentials"]:
            mover.execute(
                "INSERT INTO credential VALUES (%s, NULL, %s, %s, %s, %s, %s, %s, 10)",
                it["id"],
                it["type"],
                user["id"],
                it["createdDate"],
                it.get("userLabel"),
                it["secretData"],
                it["credentialData"],
            )
    rows = mover.import_("keycloak", credential_table="credential")
    assert_keycloak_moved(mover, rows)
    mover.execute("DROP TABLE credential")


BAD_DOCUMENTS = {
    "nothing": "",
    "no JSON": "<realm/>",
    "cut off": REALM[: len(REALM) // 2],
    "a string": '"users"',
    "a number": "1",
    "users as a number": '{"users": 1}',
    "deep": "[" * 100_000,
    "a reserved key": '{"users": [{"id": {"$serde_json::private::Number": "1"}}]}',
}


@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_what_is_no_export_is_refused_and_nothing_is_imported(mover, document):
    with refused(BAD_ARGUMENT):
        mover.import_("keycloak", document=document)
    assert mover.stored() == []


def test_a_document_of_100_mb_is_refused(mover):
    mover.execute("SET statement_timeout = '20s'")
    with refused(BAD_ARGUMENT):
        mover.execute("SELECT totp.import_keycloak(repeat(' ', 100 * 1024 * 1024) || '{}')")
    mover.execute("RESET statement_timeout")


def test_supabase(mover):
    """The columns that matter of auth.mfa_factors, with values as Supabase Auth writes them."""
    mover.execute("""
        CREATE TYPE pg_temp.factor_type AS ENUM ('totp', 'webauthn', 'phone');
        CREATE TYPE pg_temp.factor_status AS ENUM ('unverified', 'verified');
        CREATE TEMPORARY TABLE mfa_factors (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL,
            friendly_name text, factor_type pg_temp.factor_type NOT NULL,
            status pg_temp.factor_status NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(), secret text, phone text,
            last_challenged_at timestamptz)
    """)
    ids = [f"00000000-0000-4000-8000-{n:012}" for n in range(5)]
    secret = pyotp.random_base32()
    encrypted = json.dumps(
        {"key_id": "k", "alg": "aes-gcm-hkdf", "data": "AAAA", "nonce": "AAAAAAAAAAAAAAAA"}
    )
    for user, (kind, status, value) in zip(
        ids,
        [
            ("totp", "verified", secret),
            ("totp", "unverified", secret),
            ("phone", "verified", None),
            ("totp", "verified", encrypted),
            ("totp", "verified", None),
        ],
        strict=True,
    ):
        mover.execute(
            "INSERT INTO mfa_factors (user_id, friendly_name, factor_type, status, secret)"
            " VALUES (%s, 'My phone', %s, %s, %s)",
            user,
            kind,
            status,
            value,
        )
    rows = mover.import_("supabase", factors_table="mfa_factors")
    assert rows[ids[0]][1:] == (1, 0, None)
    assert rows[ids[1]].problem == "the app was never confirmed by a code"
    assert ids[2] not in rows
    assert "is encrypted by the other system" in rows[ids[3]].problem
    assert rows[ids[4]].problem == "secret is missing"
    assert_app_works(mover, ids[0], pyotp.TOTP(secret).provisioning_uri(name="x"))
    assert [row.label for row in mover.stored()] == ["My phone"]
    mover.execute("DROP TABLE mfa_factors; DROP TYPE pg_temp.factor_type, pg_temp.factor_status")


SECRET = "a secret of at least thirty-two characters"
SECRETS = "2:another secret of thirty-two characters,1:one that is no longer used"
TABLE = 'public."twoFactor"'


@pytest.fixture
def secret_files(import_directory):
    import_directory("one", SECRET)
    import_directory("several", f"{SECRETS}\n{SECRET}\n")
    import_directory("wrong", "a wrong secret of thirty-two characters")
    import_directory("empty", "\n")


@pytest.mark.usefixtures("secret_files")
def test_better_auth(cluster):
    with place_to_move_to(cluster) as (name, mover):
        people = peer.enrol(cluster, name, "better-auth", SECRET, SECRETS)
        cluster.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO mover", dbname=name)
        mover.travel(time.time())
        with refused(BAD_ARGUMENT):
            mover.import_("better_auth", two_factor_table=TABLE, secret_file="empty")
        for file, moved in ("wrong", set()), ("one", {"one", "two"}), ("several", {"versioned"}):
            rows = mover.import_("better_auth", two_factor_table=TABLE, secret_file=file)
            assert {user for user in people if rows[people[user].account].factors} == moved
            problem = rows[people["unconfirmed"].account].problem
            assert problem == "the app was never confirmed by a code"
        assert rows[people["one"].account][1:] == (0, 0, None)
        for user in ("one", "two", "versioned"):
            person = people[user]
            assert_app_works(mover, person.account, person.uri, person.spent_code)
            assert mover.backup_verify(person.account, person.spent_backup_code) is False
            assert mover.backup_verify(person.account, person.backup_codes[0].swapcase()) is False
            for code in person.backup_codes:
                assert mover.backup_verify(person.account, code) is True
                assert mover.backup_verify(person.account, code) is False
            mover.execute("SELECT totp.totp_unlock(%s, 'the test goes on')", person.account)


@pytest.mark.usefixtures("secret_files")
def test_the_key_of_better_auth_is_not_in_an_error(cluster):
    with place_to_move_to(cluster) as (_, mover):
        mover.execute('CREATE TEMPORARY TABLE t ("userId" text, secret text, "backupCodes" text)')
        mover.execute("INSERT INTO t VALUES ('x', 'zz', 'zz'), ('y', NULL, NULL)")
        rows = mover.import_("better_auth", two_factor_table="t", secret_file="one")
        assert rows["x"].problem == "the value could not be decrypted with this key"
        assert SECRET not in str(rows)
        with pytest.raises(psycopg.Error) as caught:
            mover.import_("better_auth", two_factor_table="pg_class", secret_file="one")
        assert caught.value.sqlstate == "42703" and SECRET not in str(caught.value)
