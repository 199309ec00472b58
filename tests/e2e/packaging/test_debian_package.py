"""The Debian package: installed, used, upgraded from 0.1.0 and purged, on a cluster of the distribution.

Root only. The files that the package replaces are put back afterwards."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from client import Client
from cluster import PG_CONFIG, ROOT
from package import MAJOR, PACKAGES, VERSION

NAME = f"postgresql-{MAJOR}-totp"
CLUSTER = "totp-package"
LIBRARY = Path(f"/usr/lib/postgresql/{MAJOR}/lib/totp.so")
EXTENSIONS = Path(f"/usr/share/postgresql/{MAJOR}/extension")
RELEASED = "0.1.0"

pytestmark = [
    pytest.mark.skipif(
        Path(PG_CONFIG) != Path(f"/usr/lib/postgresql/{MAJOR}/bin/pg_config") or os.geteuid() != 0,
        reason="needs Debian's PostgreSQL, and root",
    ),
    pytest.mark.timeout(300),
]


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def package():
    (path,) = PACKAGES.glob(f"{NAME}_{VERSION}-1_*.deb")
    return path


@pytest.fixture(scope="module")
def old_package(package):
    """A package of 0.1.0: its script, with today's library. scripts/release-check has the old one."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        run("dpkg-deb", "--raw-extract", package, tree)
        extensions = tree / EXTENSIONS.relative_to("/")
        for file in extensions.glob("totp--*.sql"):
            file.unlink()
        shutil.copy(ROOT / f"sql/releases/totp--{RELEASED}.sql", extensions)
        for file in (extensions / "totp.control", tree / "DEBIAN/control"):
            file.write_text(file.read_text().replace(VERSION, RELEASED))
        (tree / "DEBIAN/md5sums").unlink()
        run("dpkg-deb", "--root-owner-group", "--build", tree, directory)
        (path,) = Path(directory).glob("*.deb")
        yield path


@pytest.fixture(scope="module")
def server():
    """A cluster made as an administrator of Debian makes it. Yields a function that connects."""
    kept = Path(tempfile.mkdtemp())
    for file in (LIBRARY, *EXTENSIONS.glob("totp*")):
        shutil.move(file, kept)
    try:
        run("pg_createcluster", MAJOR, CLUSTER, "--", "--auth=trust", "--no-sync")
        yield lambda: psycopg.connect(
            host="/var/run/postgresql",
            port=port(),
            user="postgres",
            autocommit=True,
            row_factory=psycopg.rows.namedtuple_row,
        )
    finally:
        subprocess.run(["pg_dropcluster", "--stop", f"{MAJOR}", CLUSTER], check=False)
        subprocess.run(["dpkg", "--purge", NAME], check=False, stdout=subprocess.DEVNULL)
        for file in kept.iterdir():
            shutil.move(file, LIBRARY if file.name == "totp.so" else EXTENSIONS / file.name)
        kept.rmdir()


def port():
    lines = (line.split() for line in run("pg_lsclusters", "--no-header").splitlines())
    return next(line[2] for line in lines if line[:2] == [f"{MAJOR}", CLUSTER])


def test_lintian_finds_no_error(package):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    found = run("lintian", "--allow-root", "--fail-on", "error", package)
    assert not [line for line in found.splitlines() if line.startswith("E:")], found


def test_the_package_is_installed_used_upgraded_and_purged(server, package, old_package):
    run("dpkg", "--install", old_package)
    run("pg_conftool", MAJOR, CLUSTER, "set", "shared_preload_libraries", "totp")
    run("pg_ctlcluster", MAJOR, CLUSTER, "start")
    with server() as connection:
        connection.execute("CREATE EXTENSION totp")
        version = "SELECT extversion FROM pg_extension WHERE extname = 'totp'"
        assert Client(connection).value(version) == RELEASED

    run("dpkg", "--install", package)
    run("pg_ctlcluster", MAJOR, CLUSTER, "restart")
    with server() as connection:
        client = Client(connection)
        client.execute("ALTER EXTENSION totp UPDATE")
        client.value("SELECT totp.key_generate()")
        assert client.value(version) == VERSION
        person = client.enrol("alice")
        assert client.verify("alice", person.phone.code(client.now, 1))
        assert client.backup_verify("alice", person.backup_codes[0])
    assert run("dpkg", "--verify", NAME) == ""

    run("pg_ctlcluster", MAJOR, CLUSTER, "stop")
    run("dpkg", "--purge", NAME)
    assert not LIBRARY.exists()
    assert not list(EXTENSIONS.glob("totp*"))
