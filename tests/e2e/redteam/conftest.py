"""One cluster for the red team, with the roles of PostgREST and Supabase, and a victim."""

import pytest

from client import Client
from conftest import DATABASE, assert_never_crashed, session_client
from web import Web

# Who waits for a row waits so long that no test takes it for a busy machine.
SETTINGS = {"shared_preload_libraries": "totp,pg_stat_statements", "totp.lock_timeout": "30s"}


@pytest.fixture(scope="session")
def cluster():
    """Stands in for the cluster of the other tests."""
    with Web(settings=SETTINGS) as cluster:
        yield cluster
        assert_never_crashed(cluster)


dba = session_client("postgres")
app = session_client("app")


@pytest.fixture
def connect(cluster):
    """A function that logs in as a role."""
    opened = []

    def log_in(role, dbname=DATABASE, **options):
        opened.append(cluster.connect(role, dbname, **options))
        return Client(opened[-1])

    yield log_in
    for connection in opened:
        connection.close()


@pytest.fixture
def victim(app, account):
    """A person whose account is enrolled."""
    return app.enrol(account, period=60)


@pytest.fixture
def server(cluster):
    """A PostgREST server."""
    server = cluster.server()
    yield server
    server.connection.close()
