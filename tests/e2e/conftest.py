"""What the suite shares: one cluster with the extension, its clients, and names for accounts.

PG_CONFIG names the PostgreSQL to test. TEST_SEED repeats a run of the random tests.
"""

import os
import random
import secrets
import signal

import pytest
from psycopg import sql

import figures
from alone import turn
from client import Client, Traveller
from cluster import Cluster
from key_file import KeyFile

DATABASE = "e2e"
# Nobody's role, an application's, and one that may also move its clock and its limits.
ROLES = """
CREATE ROLE stranger LOGIN;
CREATE ROLE app LOGIN IN ROLE totp_app;
CREATE ROLE traveller LOGIN IN ROLE totp_app;
CREATE ROLE administrator LOGIN IN ROLE totp_admin;
CREATE ROLE auditor LOGIN IN ROLE totp_auditor;
CREATE ROLE self_service LOGIN IN ROLE totp_user;
GRANT SET ON PARAMETER totp.clock, totp.window_steps TO traveller;
"""


def pytest_configure():
    """A run that is interrupted or terminated stops its servers. A shell may have its jobs ignore SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Each test has its turn, with its fixtures."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def figures_of_the_file(request):
    """What a test records is written if no test of its file has failed: it may say what they have shown."""
    failed = request.session.testsfailed
    with figures.held(lambda: request.session.testsfailed == failed):
        yield


@pytest.fixture(scope="session")
def cluster():
    """The cluster that most tests share."""
    with Cluster() as cluster:
        cluster.new_database(DATABASE)
        install(cluster, DATABASE)
        cluster.execute(ROLES)
        yield cluster
        assert_never_crashed(cluster)


def install(cluster, dbname):
    """Makes the extension in a database, and the key file when there is none."""
    cluster.execute("CREATE EXTENSION totp", "SELECT totp.key_generate()", dbname=dbname)


def assert_never_crashed(cluster):
    """No test may have brought a server process down, or panicked in one."""
    signs = ("was terminated by signal", "PANIC:  ", "panicked at")
    crashes = [line for line in cluster.log.splitlines() if any(sign in line for sign in signs)]
    assert not crashes


def session_client(role, kind=Client):
    """A fixture: a client that logs in as a role, for the whole session."""

    @pytest.fixture(scope="session")
    def client(cluster):
        with cluster.connect(role, DATABASE) as connection:
            yield kind(connection)

    return client


dba = session_client("postgres")
app = session_client("app")
stranger = session_client("stranger")


@pytest.fixture
def traveller(cluster):
    """A client of the application whose clock stands at the start of 2030."""
    with cluster.connect("traveller", DATABASE) as connection:
        yield Traveller(connection)


@pytest.fixture
def account():
    """The name of an account that nobody has used."""
    return new_account()


def new_account():
    return f"user-{secrets.token_hex(8)}"


@pytest.fixture
def key_file(cluster):
    """The key file of the shared cluster; as it was, afterwards."""
    file = KeyFile(cluster)
    yield file
    file.restore()


@pytest.fixture
def import_directory(cluster):
    """The directory with the files that imports may read, as a function that writes one."""
    place = cluster.data_dir / f"import-{secrets.token_hex(4)}"
    place.mkdir()
    cluster.configure(totp__import_directory=str(place))

    def write(name, text, mode=0o600):
        file = place / name
        file.write_text(text)
        file.chmod(mode)
        os.chown(file, cluster.owner, -1)

    os.chown(place, cluster.owner, -1)
    yield write
    cluster.configure(totp__import_directory=None)


@pytest.fixture
def other_database(cluster):
    """An empty database, gone afterwards."""
    name = f"other_{secrets.token_hex(4)}"
    cluster.new_database(name)
    yield name
    cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def dice():
    """Random numbers that TEST_SEED repeats."""
    seed = int(os.environ.get("TEST_SEED", secrets.randbits(32)))
    print(f"TEST_SEED={seed}")
    return random.Random(seed)
