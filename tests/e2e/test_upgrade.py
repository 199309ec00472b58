"""pg_upgrade, run for real, from PostgreSQL 15 to the version under test."""

import re
import shutil
import subprocess

import pytest

import figures
from client import Client
from cluster import PG_CONFIG, Cluster, bindir
from conftest import install
from key_file import KeyFile, key_id
from refusal import NO_KEY, refused

OLD_PG_CONFIG = "/usr/lib/postgresql/15/bin/pg_config"
# PostgreSQL 15.20 marks the columns of every new table with an option that 18.6 does not know, and
# pg_upgrade between the two fails on any table. Older tables have no mark.
UNMARK = """
UPDATE pg_attribute SET attoptions = NULLIF(
    ARRAY(SELECT option FROM unnest(attoptions) AS option WHERE option !~ '^pg_attver='), '{}')
WHERE attoptions IS NOT NULL
"""
# Codes of before the start are accepted, as they would be half a minute later.
SETTINGS = {"totp.cold_start": "off"}


def upgrade(old, new):
    """Stops a cluster, and upgrades it into the directory of one that does not exist yet."""
    old.execute(UNMARK)
    old.stop()
    user = {"user": old.owner, "group": old.data_dir.stat().st_gid, "extra_groups": []}
    shutil.chown(new.directory, old.owner)

    def run(program, *arguments):
        command = [bindir(PG_CONFIG) / program, *arguments]
        done = subprocess.run(
            command,
            cwd=new.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
            **user,
        )
        logs = new.data_dir.glob("pg_upgrade_output.d/*/log/*")
        tails = [
            log.read_text()[-3000:] for log in sorted(logs) if log.is_file() and done.returncode
        ]
        assert done.returncode == 0, "\n".join([done.stdout, *tails])
        return done.stdout

    version = int(re.search(r"\d+", run("initdb", "--version")).group())
    # They are on by default since 18, and must be as in the old cluster.
    checksums = ["--no-data-checksums"] if version >= 18 else []
    locale = ["--encoding=UTF8", f"--locale={locale_of(old)}"]
    initdb = ["-D", new.data_dir, "--auth=trust", "--username=postgres", "--no-sync", *locale]
    run("initdb", *initdb, *checksums)
    clusters = ["-d", old.data_dir, "-D", new.data_dir, "-b", bindir(OLD_PG_CONFIG)]
    output = run("pg_upgrade", *clusters, "-B", bindir(PG_CONFIG), "-U", "postgres")
    assert "Upgrade Complete" in output


def locale_of(cluster):
    text = (cluster.data_dir / "postgresql.conf").read_text()
    return re.search(r"^lc_messages = '(.*?)'", text, re.MULTILINE).group(1)


@pytest.fixture
def old():
    with Cluster(pg_config=OLD_PG_CONFIG) as old:
        install(old, "postgres")
        yield old


@pytest.fixture
def new():
    new = Cluster(settings=SETTINGS)
    yield new
    if (new.directory / "bindir").exists():
        new.destroy()
    shutil.rmtree(new.directory, ignore_errors=True)


def enrolled(cluster):
    """A person, and the next code of theirs, which the upgraded cluster must accept."""
    with cluster.connect() as connection:
        client = Client(connection)
        person = client.enrol("alice")
        assert client.backup_verify("alice", person.backup_codes[0])
    return person


def assert_works(client, person):
    assert client.verify("alice", person.phone.take(client.now))
    assert client.backup_verify("alice", person.backup_codes[1])
    assert not client.backup_verify("alice", person.backup_codes[0])


@pytest.mark.timeout(240)
def test_a_key_file_in_the_old_data_directory_is_asked_for(old, new):
    person = enrolled(old)
    (key,) = KeyFile(old).keys
    upgrade(old, new)
    with new, new.connect() as connection:
        client = Client(connection)
        assert not (new.data_dir / "totp.keys").exists()
        for call in (client.verify, client.backup_verify):
            with refused(NO_KEY, without=["key_generate", "totp.keys"]) as caught:
                call("alice", person.phone.code(client.now))
            assert "after pg_upgrade, from the old data directory" in caught.value.diag.message_hint
        with refused(NO_KEY) as caught:
            client.value("SELECT totp.key_generate()")
        assert key_id(key) in caught.value.diag.message_detail
        assert not (new.data_dir / "totp.keys").exists()
        checks = client.rows("SELECT check_name, status, hint FROM totp.preflight()")
        failed = {check.check_name for check in checks if check.status == "fail"}
        assert {"keyring", "missing_keys"} <= failed
        assert not any("key_generate" in (check.hint or "") for check in checks)
        shutil.copy2(old.data_dir / "totp.keys", new.data_dir)
        shutil.chown(new.data_dir / "totp.keys", new.owner)
        assert_works(client, person)


@pytest.mark.timeout(240)
def test_a_key_file_elsewhere_works_at_once(old, new):
    elsewhere = old.directory / "elsewhere.keys"
    (old.data_dir / "totp.keys").rename(elsewhere)
    old.configure(totp__key_file=str(elsewhere))
    person = enrolled(old)
    new.settings["totp.key_file"] = str(elsewhere)
    upgrade(old, new)
    with new, new.connect() as connection:
        # The script that pg_upgrade leaves to delete the old data directory.
        subprocess.run([new.directory / "delete_old_cluster.sh"], check=True)
        assert not old.data_dir.exists()
        client = Client(connection)
        assert_works(client, person)
        query = "SELECT status FROM totp.preflight() WHERE check_name = 'key_source'"
        assert client.value(query) == "ok"
    figures.record(
        "pg_upgrade",
        does="from PostgreSQL 15 to the version under test, with the key file in and out of "
        "the data directory",
        ran="once each",
        lost="nothing",
        again="pytest tests/e2e/test_upgrade.py",
    )
