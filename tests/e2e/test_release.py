"""ALTER EXTENSION UPDATE from each release ends where CREATE EXTENSION begins.

`make release-check` tests the same with the library of the old release, and with data."""

import re

import pytest

from catalogue import differences, snapshot
from client import Client
from cluster import ROOT, Cluster
from old_release import extension_directory, script, scripts, versions
from refusal import refused

WRONG_VERSION = "55000"
NEWEST = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="module")
def server():
    with Cluster() as server, scripts():
        server.execute("CREATE EXTENSION totp", "SELECT totp.key_generate()")
        yield server


@pytest.fixture(params=versions())
def old(request, server):
    """A database with the extension as a release made it, under the library of today."""
    name = "old_" + request.param.replace(".", "_")
    with server.database(name):
        server.execute(f"CREATE EXTENSION totp VERSION '{request.param}'", dbname=name)
        yield name


def catalogue(server, name):
    with server.connect(dbname=name) as connection:
        return snapshot(connection)


def test_an_upgrade_leaves_what_an_installation_makes(server, old):
    before = catalogue(server, old)
    server.execute("ALTER EXTENSION totp UPDATE", dbname=old)
    fresh, upgraded = catalogue(server, "postgres"), catalogue(server, old)
    assert len(fresh) > 500
    assert differences(before, fresh)
    found = differences(upgraded, fresh)
    assert not found, "upgraded, then fresh; scripts/upgrade may help:\n" + "\n".join(found)


def test_upgrade_scripts_can_run_twice(server, old):
    """As Citus may run them. A version that only this test knows has the same script."""
    server.execute("ALTER EXTENSION totp UPDATE", dbname=old)
    once = catalogue(server, old)
    (upgrade,) = extension_directory().glob(f"totp--*--{NEWEST}.sql")
    with script(f"totp--{NEWEST}--again.sql", upgrade.read_text()):
        server.execute("ALTER EXTENSION totp UPDATE TO 'again'", dbname=old)
    assert not differences(catalogue(server, old), once)


def test_before_the_upgrade_a_call_says_what_to_do(server, old):
    with server.connect(dbname=old) as connection:
        client = Client(connection)
        with refused(WRONG_VERSION) as caught:
            client.verify("alice", "123456")
        assert NEWEST in caught.value.diag.message_detail
        assert "ALTER EXTENSION totp UPDATE" in caught.value.diag.message_hint
        # What needs no table works, and the session need not be a new one after the upgrade.
        assert client.value("SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', now())")
        client.execute("ALTER EXTENSION totp UPDATE")
        assert client.verify("alice", "123456") is False


def test_the_extension_may_be_newer_than_the_library(server):
    """After ALTER EXTENSION, before the server was restarted."""
    with server.database("newer"):
        server.execute(
            "CREATE EXTENSION totp",
            "UPDATE pg_extension SET extversion = '9.0.0' WHERE extname = 'totp'",
            dbname="newer",
        )
        with server.connect(dbname="newer") as connection:
            with refused(WRONG_VERSION) as caught:
                Client(connection).verify("alice", "123456")
            assert "restart" in caught.value.diag.message_hint


def test_a_server_without_the_library_in_memory_loads_it(old):
    """Without shared_preload_libraries, the upgrade script finds the new library all the same."""
    with Cluster(preload=False) as server:
        server.execute(
            f"CREATE EXTENSION totp VERSION '{versions()[-1]}'", "ALTER EXTENSION totp UPDATE"
        )
