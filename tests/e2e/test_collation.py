"""Orders of texts change with the C library, with ICU, and from one machine to the next: indexes
then miss rows. Those of the extension have an order that never changes."""

import os
import shutil
import subprocess
from contextlib import closing

import psycopg
import pytest

from client import Client
from cluster import Cluster, new_directory
from conftest import install

# As names of accounts are: signs, digits, both cases, and letters that languages sort differently.
ACCOUNTS = [
    name.format(number)
    for number in range(40)
    for name in (
        "user-{}",
        "User{}",
        "USER_{}",
        "ünal {}",
        "Ånd{}",
        "chlap{}@example.org",
        "Zoë.{}",
        "{}",
        "a-{}b",
        "a{}-b",
        "_{}",
    )
]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
# Every sort key of ours that an index or a comparison can have.
COLLATED = """
    SELECT c.oid::regclass || '.' || a.attname AS key, a.attcollation AS collation
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE c.relnamespace = 'totp'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
    UNION ALL
    SELECT indexrelid::regclass::text, unnest(indcollation::oid[]) FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'totp'::regnamespace
    UNION ALL
    SELECT oid::regtype::text, typcollation FROM pg_type
    WHERE typnamespace = 'totp'::regnamespace AND typtype = 'd'
"""


@pytest.fixture(scope="module")
def locales():
    """A directory of locales for a server of its own."""
    directory = new_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def cluster(locales):
    with Cluster(environment={"LOCPATH": str(locales)}) as cluster:
        yield cluster


def compile_locale(locales, definition):
    """Makes the locale `other`, or replaces it by one with the order of another language."""
    target = locales / "other.UTF-8"
    shutil.rmtree(target, ignore_errors=True)
    # It warns of what is missing in the definition of C, and makes the locale nevertheless.
    command = ["localedef", "-c", "-i", definition, "-f", "UTF-8", target]
    subprocess.run(command, check=False, capture_output=True)
    assert (target / "LC_COLLATE").exists()
    for path in locales.rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)


def new_order_of_the_c_library(cluster, locales):
    compile_locale(locales, "C")
    cluster.execute("CREATE DATABASE ordered TEMPLATE template0 LOCALE 'other.UTF-8'")

    def change():
        cluster.stop()
        compile_locale(locales, "en_US")
        cluster.start()

    return change


def new_order_of_icu(cluster, _locales):
    try:
        cluster.execute(
            "CREATE DATABASE ordered TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        )
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError):
        pytest.skip("this PostgreSQL has no ICU")

    def change():
        with closing(cluster.connect()) as connection:
            is_old = connection.info.server_version < 170_000
        column = "daticulocale" if is_old else "datlocale"
        cluster.execute(
            f"UPDATE pg_database SET {column} = 'cs-u-kf-upper-kn-true' WHERE datname = 'ordered'"
        )
        cluster.restart()

    return change


def order(client):
    query = "SELECT name FROM unnest(%s::text[]) AS name ORDER BY name"
    return [row.name for row in client.rows(query, ACCOUNTS)]


@pytest.mark.parametrize("provider", [new_order_of_the_c_library, new_order_of_icu])
def test_every_account_is_found_after_the_order_has_changed(cluster, locales, provider):
    """totp_enabled was false for 360 of 440 accounts, so that the password alone logged them in."""
    change = provider(cluster, locales)
    try:
        install(cluster, "ordered")
        with closing(cluster.connect(dbname="ordered")) as connection:
            client = Client(connection)
            enrol = "SELECT totp.totp_import(name, %s) FROM unnest(%s::text[]) AS name"
            client.execute(enrol, SECRET, ACCOUNTS)
            before = order(client)
        change()
        with closing(cluster.connect(dbname="ordered")) as connection:
            client = Client(connection)
            assert order(client) != before
            client.execute("SET enable_seqscan = off")
            enabled = (
                "SELECT count(*) FROM unnest(%s::text[]) AS name WHERE totp.totp_enabled(name)"
            )
            assert client.value(enabled, ACCOUNTS) == len(ACCOUNTS)
            for account in ACCOUNTS:
                client.create(account, label="second")
            assert client.value("SELECT count(*) FROM totp.accounts") == len(ACCOUNTS)
    finally:
        cluster.execute("DROP DATABASE IF EXISTS ordered WITH (FORCE)")


def test_preflight_says_when_the_order_of_the_database_has_changed(cluster, locales):
    """Indexes of the application may miss rows then; PostgreSQL itself only logs a warning."""
    new_order_of_the_c_library(cluster, locales)
    query = "SELECT status FROM totp.preflight() WHERE check_name = 'collation'"
    try:
        cluster.execute("CREATE EXTENSION totp", dbname="ordered")
        with closing(cluster.connect(dbname="ordered")) as connection:
            client = Client(connection)
            assert client.value(query) == "ok"
            client.execute("UPDATE pg_database SET datcollversion = '0' WHERE datname = 'ordered'")
            assert client.value(query) == "warn"
    finally:
        cluster.execute("DROP DATABASE IF EXISTS ordered WITH (FORCE)")


def test_every_key_has_the_order_of_bytes(cluster):
    with cluster.database("catalog") as name:
        cluster.execute("CREATE EXTENSION totp", dbname=name)
        with closing(cluster.connect(dbname=name)) as connection:
            client = Client(connection)
            allowed = [0, client.value("""SELECT '"C"'::regcollation::oid::bigint""")]
            rows = client.rows(COLLATED)
    assert len(rows) > 100
    others = {row.key for row in rows if row.collation not in allowed}
    assert others == set()


JOIN = """
    SELECT login, enabled FROM users LEFT JOIN totp.account_status ON account = login
    WHERE login = 'ünal 7'
"""


@pytest.mark.parametrize(
    ("collation", "condition"),
    [
        ("", "account = login"),
        ('COLLATE "C"', "account = login"),
        ('COLLATE "POSIX"', 'account = login COLLATE "C"'),
    ],
)
def test_views_are_joined_with_tables_of_any_collation(cluster, collation, condition):
    with cluster.database("joined") as name:
        install(cluster, name)
        with closing(cluster.connect(dbname=name)) as connection:
            client = Client(connection)
            client.execute("SELECT totp.totp_import('ünal 7', %s)", SECRET)
            client.execute(f"CREATE TABLE users (login text {collation} PRIMARY KEY)")
            client.execute("INSERT INTO users VALUES ('ünal 7'), ('nobody')")
            rows = client.rows(JOIN.replace("account = login", condition))
    assert [tuple(row) for row in rows] == [("ünal 7", True)]
