"""pg_basebackup, and recovery to a time before a code was spent, as in docs/backups.md."""

import os
import re
import shutil
import time
from contextlib import closing

import pytest

import figures
from audit_trail import findings, seal
from client import Client
from cluster import ROOT, Cluster, until
from conftest import install, new_account
from period import roomy_period

PAGE = (ROOT / "docs" / "backups.md").read_text()
(TOKENS,) = re.findall(r"^```sql\n(DELETE FROM totp\.tokens.*?)^```", PAGE, re.M | re.S)
TARGET = "before"
RECOVERY = {
    "recovery_target_name": TARGET,
    "recovery_target_action": "promote",
    "archive_mode": "off",
}


class Past:
    """A server whose WAL is archived: its base backup, and what was done after the target."""

    def __init__(self, cluster, archive):
        self.archive = archive
        self.copy = Cluster(settings={**RECOVERY, "restore_command": f"cp {archive}/%f %p"})
        os.chown(self.copy.directory, cluster.owner, -1)
        with closing(cluster.connect()) as connection:
            client = Client(connection)
            self.person = client.enrol(new_account(), period=roomy_period(time.time()))
            seal(client)
            backup = ["pg_basebackup", "-D", self.copy.data_dir, "-X", "none", "-c", "fast"]
            cluster.run(*backup, "--no-manifest")
            self.unspent = self.person.backup_codes[1]
            account = self.person.account
            assert client.backup_verify(account, self.person.backup_codes[2])
            self.trust = client.trust(account)
            client.value("SELECT pg_create_restore_point(%s)::text", TARGET)
            self.totp_code = self.person.phone.take(time.time())
            assert client.verify(account, self.totp_code)
            assert client.backup_verify(account, self.person.backup_codes[0])
            assert client.call("trust_revoke", account=account)[0] == 1
            seal(client)
            segment = client.value("SELECT pg_walfile_name(pg_switch_wal())")
            until(lambda: (archive / segment).exists(), what="archived WAL")

    def recover(self):
        (self.copy.data_dir / "recovery.signal").touch()
        self.copy.start()
        self.copy.wait_until_ready()
        with closing(self.copy.connect()) as connection:
            recovering = "SELECT pg_is_in_recovery()"
            until(lambda: not connection.execute(recovering).fetchone()[0], what="promotion")


@pytest.fixture(scope="module")
def past():
    cluster = Cluster(settings={"archive_mode": "on"})
    archive = cluster.directory.with_name(f"{cluster.directory.name}.archive")
    archive.mkdir()
    cluster.settings["archive_command"] = f"cp %p {archive}/%f"
    with cluster:
        os.chown(archive, cluster.owner, -1)
        install(cluster, "postgres")
        past = Past(cluster, archive)
        try:
            past.recover()
            yield past
        finally:
            past.copy.destroy()
            shutil.rmtree(archive)


@pytest.fixture
def client(past):
    with closing(past.copy.connect()) as connection:
        yield Client(connection)


def test_a_base_backup_contains_the_keys_in_the_data_directory(past):
    assert (past.copy.data_dir / "totp.keys").exists()


def test_a_totp_code_spent_after_that_time_is_refused(past, client):
    account = past.person.account
    assert not client.verify(account, past.totp_code)
    assert client.last_outcome(account) == "cold_start"
    client.execute("SET totp.cold_start = off")
    assert client.verify(account, past.totp_code), (
        "the code was spent before: the test shows nothing"
    )


def test_a_trusted_device_that_was_revoked_is_back_until_tokens_are_deleted(past, client):
    account = past.person.account
    assert client.is_trusted(account, past.trust)
    client.execute(TOKENS)
    assert not client.is_trusted(account, past.trust)


def test_a_backup_code_spent_before_that_time_stays_spent(past, client):
    assert not client.backup_verify(past.person.account, past.person.backup_codes[2])


def test_a_backup_code_spent_after_that_time_is_valid_again(past, client):
    """This is what the page warns of."""
    assert client.backup_verify(past.person.account, past.person.backup_codes[0])


def test_new_backup_codes_replace_those_that_are_valid_again(past, client):
    account = past.person.account
    (codes,) = client.call("backup_reissue", account=account, reason="recovery to an earlier time")
    assert not client.backup_verify(account, past.unspent)
    assert client.backup_verify(account, codes[0])


def test_the_audit_trail_verifies(past, client):
    seal(client)
    assert findings(client)[0] == []


def test_later_codes_are_accepted(past, client):
    later = time.time() + 3 * past.person.phone.totp.interval
    client.execute("SELECT set_config('totp.clock', to_timestamp(%s)::text, false)", later)
    assert client.verify(past.person.account, past.person.phone.code(later))
    figures.record(
        "Recovery to an earlier time",
        does="a base backup is recovered to a time before a code, a backup code and a "
        "trusted device were spent or revoked",
        ran="once",
        lost="what was spent after that time; the TOTP code was not accepted again, the "
        "backup code was",
        again="pytest tests/e2e/test_base_backup.py",
    )
