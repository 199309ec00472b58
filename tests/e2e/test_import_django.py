"""Moving from Django: the real packages enrol, and what they stored is imported in place."""

import psycopg
import pytest
from cryptography.fernet import Fernet

import peer
from mover import assert_app_works, place_to_move_to
from refusal import BAD_ARGUMENT, NO_KEY, refused

NOW = 1_893_456_000
DEVICES = "public.otp_totp_totpdevice"
TOKENS = "public.otp_static_statictoken"


def readable(cluster, name):
    """What an application's administrator may read."""
    cluster.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO mover", dbname=name)


def assert_paper_works(mover, person):
    """Each code that was not used there works once; one that was used does not."""
    account = person.account
    if hasattr(person, "spent_backup_code"):
        assert mover.backup_verify(account, person.spent_backup_code) is False
    for code in person.backup_codes:
        assert mover.backup_verify(account, code) is True, code
        assert mover.backup_verify(account, code) is False
    assert mover.backup_remaining(account) == 0
    mover.execute("SELECT totp.totp_unlock(%s, 'the test goes on')", account)


@pytest.fixture(scope="module")
def moved(cluster):
    """The people, the mover and the rows of the import."""
    with place_to_move_to(cluster) as (name, mover):
        people = peer.enrol(cluster, name, "django-otp", NOW)
        readable(cluster, name)
        mover.travel(NOW)
        dry = mover.import_(
            "django_otp", totp_table=DEVICES, static_token_table=TOKENS, dry_run=True
        )
        assert mover.stored() == []
        rows = mover.import_("django_otp", totp_table=DEVICES, static_token_table=TOKENS)
        assert rows == dry
        yield people, mover, rows


@pytest.mark.parametrize("user", ["plain", "eight digits", "a minute", "ahead", "two apps"])
def test_codes_of_the_app_work_and_the_one_spent_there_does_not(moved, user):
    people, mover, rows = moved
    person = people[user]
    row = rows[person.account]
    assert (row.factors, row.backup_codes) == (2 if user == "two apps" else 1, 2)
    assert row.problem is None
    assert_app_works(mover, person.account, person.uri, person.spent_code, person.drift)
    if user == "two apps":
        mover.wait(120)
        assert_app_works(mover, person.account, person.second)
        mover.travel(NOW)


@pytest.mark.parametrize("user", ["plain", "two apps"])
def test_static_tokens_work_once(moved, user):
    people, mover, _ = moved
    assert_paper_works(mover, people[user])


def test_the_parameters_are_those_of_the_device(moved):
    people, mover, _ = moved
    of = {row.account: row for row in mover.stored()}
    assert of[people["eight digits"].account].digits == 8
    assert of[people["a minute"].account].period == 60
    assert {row.label for row in of.values()} <= {"my phone", "my phone 2"}


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ("another epoch", "t0 is not 0: steps must be counted from 1970"),
        ("unconfirmed", "the app was never confirmed by a code"),
    ],
)
def test_a_device_that_cannot_be_moved_is_reported(moved, user, problem):
    people, mover, rows = moved
    row = rows[people[user].account]
    assert row.factors == row.backup_codes == 0
    assert row.problem.startswith(problem)
    assert not mover.is_enabled(people[user].account)


def test_an_import_from_django_otp_that_is_repeated_changes_nothing(moved):
    _, mover, rows = moved
    before = mover.stored()
    again = mover.import_("django_otp", totp_table=DEVICES, static_token_table=TOKENS)
    assert mover.stored() == before
    assert all(row.factors == row.backup_codes == 0 for row in again.values())
    assert {row.problem for row in again.values()} == {row.problem for row in rows.values()}


def test_a_view_with_user_names_is_imported(cluster):
    with place_to_move_to(cluster) as (name, mover):
        peer.enrol(cluster, name, "django-otp", NOW)
        cluster.execute(
            "CREATE VIEW devices AS SELECT d.*, u.username AS account"
            " FROM otp_totp_totpdevice AS d JOIN auth_user AS u ON u.id = d.user_id",
            "CREATE VIEW tokens AS SELECT t.token, u.username AS account"
            " FROM otp_static_statictoken AS t JOIN otp_static_staticdevice AS d"
            " ON d.id = t.device_id JOIN auth_user AS u ON u.id = d.user_id",
            "CREATE VIEW lost AS SELECT token, device_id FROM otp_static_statictoken",
            dbname=name,
        )
        readable(cluster, name)
        mover.travel(NOW)
        tables = {"totp_table": "public.devices", "static_token_table": "public.tokens"}
        rows = mover.import_("django_otp", **tables)
        assert rows["plain"][1:] == (1, 2, None)
        with refused("42703"):
            mover.import_("django_otp", **{**tables, "static_token_table": "public.lost"})
        with refused("42703"):
            mover.import_("django_otp", totp_table="public.tokens")


def test_django_two_factor_auth(cluster):
    with place_to_move_to(cluster) as (name, mover):
        people = peer.enrol(cluster, name, "django-two-factor-auth", NOW)
        readable(cluster, name)
        mover.travel(NOW)
        rows = mover.import_("django_otp", totp_table=DEVICES, static_token_table=TOKENS)
        assert len(rows) == 2
        for person in people.values():
            row = rows[person.account]
            assert row[1:] == (1, len(person.backup_codes), None)
            assert_app_works(mover, person.account, person.uri, person.spent_code)
            assert_paper_works(mover, person)


def test_django_allauth(cluster):
    with place_to_move_to(cluster) as (name, mover):
        people = peer.enrol(cluster, name, "django-allauth", NOW)
        readable(cluster, name)
        mover.travel(NOW)
        rows = mover.import_("allauth", authenticator_table="public.mfa_authenticator")
        assert len(rows) == 2
        for person in people.values():
            assert rows[person.account][1:] == (1, 9, None)
            assert_app_works(mover, person.account, person.uri, person.spent_code)
            assert_paper_works(mover, person)


TABLES = {
    "totp_table": "public.django_totp_totp",
    "backup_table": "public.django_totp_backupcode",
}


def test_django_totp(cluster, import_directory):
    key = Fernet.generate_key().decode()
    with place_to_move_to(cluster) as (name, mover):
        people = peer.enrol(cluster, name, "django-totp", NOW, key)
        readable(cluster, name)
        mover.travel(NOW)
        import_directory("wrong.key", Fernet.generate_key().decode())
        rows = mover.import_("django_totp", **TABLES, key_file="wrong.key")
        assert all(row.factors == row.backup_codes == 0 for row in rows.values())
        assert rows[people["one"].account].problem.startswith("the value could not be decrypted")
        assert mover.stored() == []

        import_directory("django.key", f"{key}\n")
        rows = mover.import_("django_totp", **TABLES, key_file="django.key")
        for user in ("one", "two"):
            person = people[user]
            assert rows[person.account][1:] == (1, 9, None)
            assert_app_works(mover, person.account, person.uri, person.spent_code)
            assert_paper_works(mover, person)
        unconfirmed = rows[people["unconfirmed"].account]
        assert unconfirmed[1:] == (0, 0, "the app was never confirmed by a code")


BAD_FILES = {
    "no key": ("x.key", "this is not a key", 0o600, BAD_ARGUMENT),
    "readable by all": ("x.key", "x", 0o644, NO_KEY),
    "not there": ("y.key", "x", 0o600, NO_KEY),
    "elsewhere": ("../totp.keys", "x", 0o600, BAD_ARGUMENT),
    "absolute": ("/etc/hostname", "x", 0o600, BAD_ARGUMENT),
    "the directory": (".", "x", 0o600, BAD_ARGUMENT),
    "a file of a file": ("x.key/", "x", 0o600, BAD_ARGUMENT),
    "nothing": ("", "x", 0o600, BAD_ARGUMENT),
}


@pytest.mark.parametrize(("file", "text", "mode", "sqlstate"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_key_is_refused(cluster, import_directory, file, text, mode, sqlstate):
    import_directory("x.key", text, mode)
    with place_to_move_to(cluster) as (_, mover):
        mover.execute("CREATE TEMPORARY TABLE t (id int, user_id int, secret_key text)")
        mover.execute("CREATE TEMPORARY TABLE c (totp_id int, code text, is_used bool)")
        with refused(sqlstate, without=["this is not", "hostname", "totp.keys"]):
            mover.import_("django_totp", totp_table="t", backup_table="c", key_file=file)


def test_without_a_directory_no_file_is_read(cluster):
    with place_to_move_to(cluster) as (_, mover):
        mover.execute("CREATE TEMPORARY TABLE t (id int, user_id int, secret_key text)")
        with refused(NO_KEY):
            mover.import_("django_totp", totp_table="t", backup_table="t", key_file="totp.keys")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            mover.execute("SHOW totp.import_directory")
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            mover.execute("SET totp.import_directory = '/'")
