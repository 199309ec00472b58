"""Faults: a full disk, a wrong clock, no connection left, statements that time out."""

import os
import subprocess
import time
from contextlib import contextmanager, suppress

import psycopg
import pytest

import figures
import load
from client import Client, session
from cluster import Cluster, new_directory, until
from conftest import DATABASE, ROLES, install, new_account
from jump import JUMPS, START, assert_nothing_revives
from key_file import KeyFile
from ledger import Ledger
from load import Load, Member
from process import private_memory

pytestmark = pytest.mark.timeout(180)
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can mount a file system")
FILL_WAL = "SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))"


@contextmanager
def small_disk(owner, megabytes):
    """A file system in memory with little room, and a function that changes its size."""
    place = new_directory()

    def resize(megabytes, *options):
        size = f"size={megabytes}m,mode=0700,uid={owner}"
        command = ["mount", "-t", "tmpfs", "-o", ",".join([size, *options]), "tmpfs", place]
        return subprocess.run(command, check=False).returncode == 0

    if not resize(megabytes):
        # Root of a container may not.
        place.rmdir()
        pytest.skip("cannot mount a file system here")
    try:
        yield place, lambda megabytes: resize(megabytes, "remount")
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def assert_kept(cluster, ledger):
    """Nothing that clients were told is lost, and nothing spent is accepted again."""
    with session(cluster, "totp.cold_start = off") as client:
        assert ledger.differences(client) == []
        assert ledger.half_enrolled(client) == []
        assert list(ledger.replays(cluster)) == []
        assert list(ledger.locked_out(cluster)) == []
        assert ledger.unproven(client) == []


# A full disk


@needs_root
def test_a_full_disk_while_verifying_is_an_error_and_no_success(dice):
    """Tables cannot grow any more. Each call fails, or its client is told what was committed."""
    ledger = Ledger()
    with (
        Cluster(settings=load.SETTINGS) as cluster,
        small_disk(cluster.owner, 64) as (disk, _),
    ):
        cluster.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        cluster.execute("CREATE DATABASE small TABLESPACE small TEMPLATE template0")
        install(cluster, "small")
        cluster.execute(ROLES)
        member = Member(None, ledger, dice.randbytes(8), accounts=3)
        errors = 0
        with session(cluster, role="app", dbname="small") as client:
            while len(member.owners) < 3:
                member.act(client)
            # All that is left goes to somebody else.
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(65536))
            deadline = time.monotonic() + 60
            while errors < 20 and time.monotonic() < deadline:
                try:
                    member.act(client)
                except psycopg.errors.DiskFull:
                    errors += 1
        assert errors == 20
        (disk / "filler").unlink()
        with session(cluster, "totp.cold_start = off", dbname="small") as client:
            assert ledger.differences(client) == []
            assert ledger.half_enrolled(client) == []
            assert ledger.unproven(client) == []
        cluster.execute("DROP DATABASE small", "DROP TABLESPACE small")
    figures.record(
        "Full disk, tables",
        does="no table can grow while codes are verified",
        ran=f"{errors} calls failed, {sum(ledger.calls.values())} answered",
        lost="nothing",
        again="pytest tests/e2e/test_fault.py -k full_disk",
    )


@needs_root
def test_a_full_disk_for_wal_loses_nothing(dice):
    """Calls fail, or PostgreSQL goes down. With room again, it has all that clients were told."""
    ledger = Ledger()
    settings = {**load.SETTINGS, "min_wal_size": "32MB", "max_wal_size": "1GB"}
    with Cluster(settings=settings) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        cluster.stop()
        wal = cluster.data_dir / "pg_wal"
        with small_disk(cluster.owner, 96) as (disk, resize):
            subprocess.run(["cp", "-a", f"{wal}/.", disk], check=True)
            wal.rename(wal.with_name("old_wal"))
            wal.symlink_to(disk)
            cluster.start()
            with (
                Load(cluster, ledger, KeyFile(cluster), dice, falls=True),
                suppress(psycopg.OperationalError),
                session(cluster) as client,
            ):
                while True:
                    client.execute(FILL_WAL)
            assert "No space left on device" in cluster.log
            with suppress(RuntimeError):
                cluster.stop("immediate")
            resize(512)
            cluster.start()
            assert_kept(cluster, ledger)
            cluster.stop()
    figures.record(
        "Full disk, WAL",
        does="the disk with the WAL fills up under the mixed load",
        ran=f"once, {sum(ledger.calls.values()):,} calls answered",
        lost="nothing",
        again="pytest tests/e2e/test_fault.py -k full_disk",
    )


# A clock that jumps


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_and_comes_back_revives_no_code(traveller, account, jump):
    def log_in():
        another = traveller.enrol(new_account())
        token = traveller.challenge(another.account)
        assert traveller.answer(token, another.phone.take(traveller.now)).verified

    assert_nothing_revives(traveller, account, JUMPS[jump], log_in)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_lock_ends_at_its_time_or_by_an_unlock(traveller, dba, account, jump):
    """A clock that was set back delays the end. An administrator does not have to wait."""
    person = traveller.enrol(account)
    traveller.fail(person, 5)
    traveller.travel(JUMPS[jump])
    verdict = traveller.attempt(account, person.backup_codes[0])
    assert verdict.verified is (JUMPS[jump] > START)
    if not verdict.verified:
        assert verdict.reason == "locked"
        assert dba.call("totp_unlock", account=account, reason="the clock was wrong")[0]
        assert traveller.backup_verify(account, person.backup_codes[0])


# No connection left, and statements that time out


def test_no_connection_left_is_an_error_and_sessions_that_are_there_go_on():
    with Cluster(
        settings={"max_connections": "8", "superuser_reserved_connections": "1"}
    ) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        with session(cluster) as client:
            person = client.enrol(new_account())
            held = []
            with pytest.raises(
                psycopg.OperationalError, match=r"too many|remaining connection slots"
            ):
                for _ in range(20):
                    held.append(cluster.connect("app"))
            app = Client(held[0])
            assert app.backup_verify(person.account, person.backup_codes[0])
            assert not app.backup_verify(person.account, person.backup_codes[0])
            for connection in held:
                connection.close()

        def is_free():
            with suppress(psycopg.OperationalError), session(cluster, role="app") as client:
                return client.backup_verify(person.account, person.backup_codes[1])

        until(is_free, what="a free connection")


class Hasty(Member):
    """One whose statements time out, most of them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.timed_out = 0
        # An attempt that timed out is counted or was never made: its number would not be known.
        del self.acts[self.fail]

    def act(self, client):
        is_ready = len(self.owners) == self.accounts
        milliseconds = self.dice.choice([1, 2, 3, 5, 8]) if is_ready else 0
        try:
            client.execute(f"SET statement_timeout = {milliseconds}")
            return super().act(client)
        except psycopg.errors.QueryCanceled:
            self.timed_out += 1
            self.calm_down(client)
            return False

    def calm_down(self, client):
        with suppress(psycopg.errors.QueryCanceled):
            client.execute("SET statement_timeout = 0")
            client.execute("SELECT set_config('request.jwt.claims', '', false)")
            return
        self.calm_down(client)


def test_a_storm_of_timeouts_revives_no_code_and_blocks_nobody(dice):
    ledger = Ledger()
    with Cluster(settings=load.SETTINGS) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)

        def timed_out():
            return sum(member.timed_out for member in running.members)

        with Load(cluster, ledger, KeyFile(cluster), dice, kind=Hasty) as running:
            time.sleep(6)
            # A fast machine answers more calls in time.
            until(lambda: timed_out() > 50, timeout=40, what="a storm")
        assert_kept(cluster, ledger)
        errors = {line.partition("ERROR:  ")[2] for line in cluster.log.splitlines()} - {""}
        # A timeout that fires as a statement ends cancels the next one, and has another name there.
        assert errors <= {
            f"canceling statement due to {why}" for why in ("statement timeout", "user request")
        }
    figures.record(
        "Storm of timeouts",
        does="the mixed load with statement_timeout between 1 and 8 ms",
        ran=f"{timed_out()} statements timed out, {sum(ledger.calls.values()):,} calls answered",
        lost="nothing",
        again="pytest tests/e2e/test_fault.py -k timeouts",
    )


# Memory of many connections

CONNECTIONS = 5000
# What the extension adds to the private memory of a connection that has used it.
LIMIT_KB = 3072


def test_five_thousand_connections_fit_into_memory(cluster):
    """By calculation: what one connection holds after it has called everything."""

    def median_of(use):
        sizes = []
        for _ in range(5):
            with session(cluster, role="app", dbname=DATABASE) as client:
                use(client)
                sizes.append(private_memory(client.connection.info.backend_pid))
        return sorted(sizes)[2]

    def everything(client):
        person = client.enrol(new_account())
        client.verify(person.account, person.phone.take(client.now))
        client.backup_verify(person.account, person.backup_codes[0])
        client.answer(client.challenge(person.account), person.backup_codes[1])
        client.status(person.account)

    bare = median_of(lambda client: client.value("SELECT 1"))
    used = median_of(everything)
    gigabytes = (used - bare) * CONNECTIONS / 1024**2
    assert used - bare < LIMIT_KB
    figures.record(
        "Memory of 5,000 connections",
        does="calculated from the private memory of a connection that has called the functions",
        ran=f"{bare:,} kB before the first call, {used:,} kB after all",
        lost=f"nothing; the extension adds {used - bare:,} kB per connection,"
        f" {gigabytes:.1f} GB for 5,000",
        again="pytest tests/e2e/test_fault.py -k five_thousand",
    )
