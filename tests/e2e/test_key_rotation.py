"""Rows are encrypted again with another key while people log in, through kills, by several sessions.

ROTATION_ROWS, 1000000 say, makes it a measurement with limits: see benches/rotation.
"""

import json
import os
import re
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from cryptography.fernet import Fernet

from client import Client
from cluster import Cluster, new_directory, until
from conftest import install
from forge import MADE_AT, forge, forge_backup_codes
from key_file import KeyFile, key_id

ROWS = int(os.environ.get("ROTATION_ROWS", "8000"))
IS_MEASURED = ROWS >= 1_000_000
NOW = MADE_AT + timedelta(days=1)
CLIENTS, LOGINS_A_SECOND = 4, 400
# New versions of rows take the room of old ones.
GROWTH = 1.1
# Each account logs in once: all have the same code, and time stands still.
LOGINS = r"""
\set n (:base + :i * 4 + :client_id) * 7919 % :rows
\set i :i + 1
SELECT 1 / totp.totp_verify('user-' || :n, 'CODE')::integer;
"""
LEFT = """
SELECT coalesce(sum(factors + backup_codes), 0)::integer FROM totp.key_status WHERE NOT is_primary
"""
# As a server is run, but for the small one, which loses nothing but to the operating system.
SETTINGS = {"shared_buffers": "256MB"}
if IS_MEASURED:
    SETTINGS |= {"fsync": "on", "shared_buffers": "4GB", "max_wal_size": "8GB"}
    SETTINGS |= {"min_wal_size": "4GB"}
# A server that has run for long has the files of its WAL: making them would stall everybody.
FILL_WAL = """
SELECT count(pg_logical_emit_message(false, '', repeat('x', 1048576))) FROM generate_series(1, 3072)
"""
pytestmark = pytest.mark.timeout(1800 if IS_MEASURED else 120)


class Crowd:
    """A cluster with many accounts, and their app."""

    def __init__(self, cluster):
        self.cluster = cluster
        names = [f"user-{n}" for n in range(ROWS)]
        self.app = forge(cluster, "postgres", names)
        forge_backup_codes(cluster, "postgres", names)
        cluster.execute("VACUUM ANALYZE", f"ALTER DATABASE postgres SET totp.clock = '{NOW}'")
        if IS_MEASURED:
            cluster.execute(FILL_WAL)
        # What the fill has left to write is none of the logins' business.
        cluster.execute("CHECKPOINT")
        self.code = self.app.code(NOW.timestamp())
        self.logged_in = 0
        self.file = KeyFile(cluster)

    def connect(self, **options):
        return closing(self.cluster.connect(**options))

    def put_new_key(self):
        """Puts a new key before the others."""
        self.file.write(Fernet.generate_key().decode(), *self.file.keys)

    def log_in(self, seconds, directory):
        """Four clients that log in for a while; when each login ended, and how long it took. Ends
        badly when one fails."""
        script, log = directory / "logins", directory / f"log-{self.logged_in}"
        script.write_text(LOGINS.replace("CODE", self.code))
        variables = {"base": self.logged_in, "i": 0, "rows": ROWS}
        defined = [f"-D{name}={value}" for name, value in variables.items()]
        output = self.cluster.run(
            "pgbench", "-n", "-Mprepared", f"-c{CLIENTS}", "-j2", f"-T{seconds}",
            f"-R{LOGINS_A_SECOND}", *defined, "-l", f"--log-prefix={log}", "-f", script, "postgres",
        )  # fmt: skip
        assert "number of failed transactions: 0 " in output
        lines = [line.split() for path in directory.glob(f"{log.name}.*") for line in path.open()]
        # A client may be ahead of the others.
        self.logged_in += CLIENTS * (max(int(line[1]) for line in lines) + 1)
        return [(int(line[4]) + int(line[5]) / 1e6, int(line[2])) for line in lines]

    def size(self):
        """Bytes of the two tables, and of their indexes."""
        query = """
            SELECT sum(pg_table_size(oid))::bigint AS tables, sum(pg_indexes_size(oid))::bigint
            FROM unnest(ARRAY['totp.factors', 'totp.backup_codes']::regclass[]) AS oid
        """
        with self.connect() as connection:
            return connection.execute(query).fetchone()

    def tidy_size(self):
        """The size without the room that others have left."""
        self.cluster.execute("VACUUM FULL totp.factors", "VACUUM FULL totp.backup_codes")
        return self.size()

    def growth(self, before):
        """What the size is now, to what it was."""
        return [now / then for now, then in zip(self.size(), before, strict=True)]

    def left(self):
        with self.connect() as connection:
            return connection.execute(LEFT).fetchone()[0]


@pytest.fixture(scope="module")
def crowd():
    with Cluster(settings=SETTINGS) as cluster:
        install(cluster, "postgres")
        cluster.execute("CREATE ROLE administrator LOGIN IN ROLE totp_admin")
        yield Crowd(cluster)
        assert "PANIC:  " not in cluster.log and "panicked at" not in cluster.log


@pytest.fixture
def directory():
    """One that pgbench writes to. Another run of pytest that begins closes those of tmp_path to other users."""
    directory = new_directory()
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


class Rotator:
    """An administrator's session that rotates, and what it was told."""

    def __init__(self, crowd):
        self.connection = crowd.cluster.connect("administrator")
        self.notices, self.warnings = [], []
        self.connection.add_notice_handler(self.hear)

    def hear(self, diagnosis):
        kind = self.warnings if diagnosis.severity_nonlocalized == "WARNING" else self.notices
        # Its texts are gone once this returns.
        kind.append((diagnosis.message_primary, diagnosis.message_detail))

    def rotate(self, batch=1000):
        with closing(self.connection):
            self.connection.execute(f"CALL totp.key_rotate({batch})")
        return self

    @property
    def sealed(self):
        """How many rows it says it has encrypted again."""
        (done,) = re.findall(r"^re-encrypted (\d+) rows with key", self.notices[-1][0])
        return int(done)


def percentile_99(latencies):
    return statistics.quantiles(latencies, n=100)[98]


def test_all_rows_are_encrypted_again_while_people_log_in(crowd, directory):
    # Half of the logins without a rotation come before it, half after: the disk has its moods.
    seconds, quiet = (110, 40) if IS_MEASURED else (12, 2)
    without = [time for _, time in crowd.log_in(quiet, directory)]
    size = crowd.size()
    old = crowd.file.keys
    crowd.put_new_key()
    assert crowd.left() == 2 * ROWS
    with ThreadPoolExecutor() as pool:
        logins = pool.submit(crowd.log_in, seconds, directory)
        time.sleep(1)
        began = time.time()
        rotator = Rotator(crowd).rotate()
        ended = time.time()
        logins = logins.result()
    assert rotator.sealed == 2 * ROWS and not rotator.warnings
    assert crowd.left() == 0
    during = [took for at, took in logins if began < at < ended]
    assert len(during) > 100
    without += [took for _, took in crowd.log_in(quiet, directory)]
    growth = crowd.growth(size)
    ratio = percentile_99(during) / percentile_99(without)
    rate = 2 * ROWS / (ended - began)
    print(f"load {os.getloadavg()} of {os.cpu_count()} processors")
    print(f"{rate:,.0f} rows a second; growth of tables and indexes {growth}")
    print(f"p99 of logins {percentile_99(without)} µs without, {percentile_99(during)} µs during:")
    print(f"ratio {ratio:.2f}, {len(without)} logins without, {len(during)} during")
    assert max(at for at, _ in logins) > ended, "the rotation took longer than the logins"
    assert max(growth) < GROWTH
    if IS_MEASURED:
        assert rate >= 20_000
        assert ratio <= 2
    # The old key is needed no more, and what is spent is still spent.
    crowd.file.write(*crowd.file.keys[: -len(old)])
    with crowd.connect() as connection:
        client = Client(connection)
        assert not client.verify("user-0", crowd.code)
        assert client.verify("user-0", crowd.app.code(NOW.timestamp(), 1))


def test_a_rotation_that_was_killed_goes_on(crowd):
    crowd.put_new_key()
    rotator = Rotator(crowd)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(rotator.rotate, 100)
        until(lambda: crowd.left() < 2 * ROWS * 3 // 4, what="a quarter of the rows", timeout=300)
        crowd.cluster.kill_backend(rotator.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            running.result()
    crowd.cluster.wait_until_ready(timeout=300)
    left = crowd.left()
    assert 0 < left < 2 * ROWS
    assert Rotator(crowd).rotate().sealed == left
    assert crowd.left() == 0


def test_several_sessions_share_the_rows(crowd):
    size = crowd.tidy_size()
    crowd.put_new_key()
    rotators = [Rotator(crowd) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(rotator.rotate, 200) for rotator in rotators]
        # Not by key_status, which reads for long what they write.
        at_work = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        with crowd.connect() as connection:
            until(lambda: connection.execute(at_work).fetchone()[0] > 1, what="two at work")
        done = [future.result().sealed for future in running]
    # Each row by one of them.
    assert sum(done) == 2 * ROWS and min(done) > 0
    assert crowd.left() == 0
    growth = crowd.growth(size)
    print(f"growth of tables and indexes {growth}")
    assert max(growth) < GROWTH


class Steps:
    """The steps of a rotation, as key_rotate takes them."""

    def __init__(self, connection):
        self.connection, self.state = connection, None

    def take(self, batch=10000):
        """Takes a step; whether it was the last one."""
        (self.state,) = self.connection.execute(self.statement(batch)).fetchone()
        return self.state is None

    def statement(self, batch):
        state = "NULL" if self.state is None else f"'{json.dumps(self.state)}'"
        return f"SELECT totp.key_rotate_step({batch}, {state})"


def test_a_login_that_meets_a_batch_waits_for_it_and_succeeds(crowd):
    crowd.put_new_key()
    with crowd.connect() as connection, ThreadPoolExecutor() as pool:
        steps = Steps(connection)
        steps.take(1000)
        steps.take(1000)
        # There is no pause in a transaction block: others would wait for its rows.
        connection.execute("BEGIN")
        steps.take(1)
        (account,) = connection.execute(
            "SELECT account FROM totp.factors WHERE xmin = pg_current_xact_id()::xid"
        ).fetchone()

        def log_in():
            with crowd.connect() as other:
                # Later than anybody has logged in.
                other.execute(f"SET totp.clock = '{NOW + timedelta(minutes=1)}'")
                return Client(other).verify(account, crowd.app.code(NOW.timestamp(), 2))

        with crowd.connect() as other:
            sessions = "SELECT sessions FROM totp.key_status WHERE is_primary"
            assert other.execute(sessions).fetchone() == (1,)
        waiting = pool.submit(log_in)
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with crowd.connect() as watcher:
            until(lambda: watcher.execute(blocked).fetchone()[0] > 0, what="a login that waits")
        connection.execute("COMMIT")
        assert waiting.result() is True


def test_rows_that_others_hold_are_left_for_the_next_call(crowd):
    crowd.put_new_key()
    with crowd.connect(autocommit=False) as connection:
        connection.execute("SELECT FROM totp.factors WHERE account = 'user-7' FOR UPDATE")
        rotator = Rotator(crowd).rotate()
        (warning,) = rotator.warnings
        assert warning[0] == "1 row was in use and was left unchanged"
        assert crowd.left() == 1
    assert Rotator(crowd).rotate().sealed == 1


def test_rows_that_others_held_at_first_find_room_later(crowd):
    crowd.tidy_size()
    crowd.put_new_key()
    # Not of backup codes, whose old versions stay as long as the other transaction is open.
    size = "SELECT pg_table_size('totp.factors')"
    with crowd.connect(autocommit=False) as holder, ThreadPoolExecutor() as pool:
        holder.execute("SELECT FROM totp.factors FOR UPDATE")
        (before,) = holder.execute(size).fetchone()
        # Long enough for a slow machine to notice.
        crowd.cluster.configure(totp__lock_timeout="60s")
        running = pool.submit(Rotator(crowd).rotate)
        until(lambda: crowd.left() == ROWS, what="the backup codes", timeout=60)
        holder.rollback()
        assert running.result().sealed == 2 * ROWS
        crowd.cluster.configure(totp__lock_timeout=None)
        assert crowd.left() == 0
        assert holder.execute(size).fetchone()[0] / before < GROWTH


@pytest.mark.parametrize(
    "undone",
    [
        "BEGIN; {}; ROLLBACK",
        "BEGIN; SAVEPOINT before; {}; ROLLBACK TO before; COMMIT",
    ],
    ids=["transaction", "part of one"],
)
def test_what_is_rolled_back_does_not_count(crowd, undone):
    crowd.put_new_key()
    events = "SELECT count(*) FROM totp.audit_events WHERE event = 'key_rotate'"
    said = []
    with crowd.connect() as connection:
        connection.add_notice_handler(lambda diagnosis: said.append(diagnosis.message_primary))
        (before,) = connection.execute(events).fetchone()
        steps = Steps(connection)
        steps.take(1000)
        connection.execute(undone.format(steps.statement(1000)))
        assert crowd.left() == 2 * ROWS
        until(steps.take, what="the end", timeout=60)
        assert connection.execute(events).fetchone() == (before + 1,)
    assert said[-1].startswith(f"re-encrypted {2 * ROWS} rows")
    assert crowd.left() == 0


def test_a_rotation_asks_the_key_command_again(crowd):
    """Sessions that know the keys in different orders would undo each other's work."""
    ring = crowd.cluster.data_dir / "ring"
    crowd.cluster.configure(totp__key_command="cat ring")
    try:
        ring.write_text("\n".join(crowd.file.keys))
        rotator = Rotator(crowd)
        primary = "SELECT key_id FROM totp.key_ids() WHERE is_primary"
        before = rotator.connection.execute(primary).fetchone()
        crowd.put_new_key()
        ring.write_text("\n".join(crowd.file.keys))
        assert rotator.connection.execute(primary).fetchone() == before
        assert rotator.rotate().sealed == 2 * ROWS
        assert crowd.left() == 0
        # Also in the middle, when rows are left that another session may seal with a newer key.
        crowd.put_new_key()
        ring.write_text("\n".join(crowd.file.keys))
        with crowd.connect() as connection, crowd.connect(autocommit=False) as holder:
            steps = Steps(connection)
            steps.take(1000)
            holder.execute("SELECT FROM totp.factors WHERE account = 'user-7' FOR UPDATE")
            steps.take(1000)
            crowd.put_new_key()
            ring.write_text("\n".join(crowd.file.keys))
            until(lambda: steps.take() or crowd.left() == 1, what="all", timeout=60)
            assert steps.state is not None
            holder.rollback()
            until(steps.take, what="the end", timeout=60)
        assert crowd.left() == 0
    finally:
        crowd.cluster.configure(totp__key_command=None)


def test_rows_that_do_not_open_are_named_and_left_and_the_others_are_done(crowd):
    crowd.put_new_key()
    damage = "UPDATE totp.factors SET sealed = reverse(sealed) WHERE account = 'user-3'"
    lose = "UPDATE totp.backup_codes SET key_id = %s WHERE account = 'user-5'"
    with crowd.connect() as connection:
        connection.execute(damage)
        connection.execute(lose, [key_id("lost")])
        sealed = "SELECT sealed FROM totp.factors WHERE account = 'user-3'"
        before = connection.execute(sealed).fetchone()
        rotator = Rotator(crowd).rotate()
        assert rotator.sealed == 2 * ROWS - 2 and crowd.left() == 2
        ((message, detail),) = rotator.warnings
        assert message == "2 rows could not be decrypted and were left unchanged"
        assert 'factor "default" of "user-3" (it is damaged' in detail
        assert f'backup codes of "user-5" (key {key_id("lost")} is not' in detail
        assert connection.execute(sealed).fetchone() == before
        # The next call finds no others to do, and says the same.
        again = Rotator(crowd).rotate()
        assert again.sealed == 0 and again.warnings == rotator.warnings
