"""Mixed load for a while: no memory that grows, no table that swells, no lock that others wait for.

TOTP_RUN_SECONDS is how long it runs.
"""

import os
import re
import time
from contextlib import closing

import pytest

import figures
import load
from client import Client
from cluster import Cluster
from conftest import ROLES, install
from key_file import KeyFile
from ledger import Ledger
from load import Load
from process import private_memory

pytestmark = pytest.mark.once

SECONDS = int(os.environ.get("TOTP_RUN_SECONDS", "60"))
# The first part fills caches and plans.
WARM_SECONDS = max(15, SECONDS // 10)
ROTATE_EVERY = max(20, SECONDS // 30)
SETTINGS = {
    **load.SETTINGS,
    "log_lock_waits": "on",
    # After this time, a wait for a lock is logged.
    "deadlock_timeout": "1s",
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_cost_delay": "0",
}
TABLES = ("accounts", "factors", "backup_codes", "tokens", "approvals")
# Of what these tables weigh when nothing is wasted.
BLOAT_LIMIT = 3
GROWTH_LIMIT_KB = 1024
HOT_PERCENT = 95
ODD = re.compile(r"(?:ERROR|FATAL|PANIC):  .*|.* still waiting for .*|.*was terminated by.*")
HOT = """
    SELECT sum(n_tup_upd)::integer AS updates, sum(n_tup_hot_upd)::integer AS hot
    FROM pg_stat_user_tables WHERE schemaname = 'totp' AND relname = ANY (%s)
"""
SIZE = (
    "SELECT sum(pg_table_size(('totp.' || name)::regclass))::bigint FROM unnest(%s::text[]) AS name"
)


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_a_long_run_under_mixed_load(dice):
    ledger = Ledger()
    with Cluster(settings=SETTINGS) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        options = {"accounts": 50, "rotate_every": ROTATE_EVERY}
        with Load(cluster, ledger, KeyFile(cluster), dice, **options) as running:
            time.sleep(WARM_SECONDS)
            pids = [member.pid for member in running.members]
            before = [private_memory(pid) for pid in pids]
            time.sleep(SECONDS - WARM_SECONDS)
            growth = max(private_memory(pid) - then for pid, then in zip(pids, before, strict=True))
        slowest = max(member.slowest for member in running.members)
        with closing(cluster.connect()) as connection:
            client = Client(connection)
            assert ledger.differences(client) == []
            assert ledger.half_enrolled(client) == []
            assert ledger.unproven(client) == []
            client.execute("SELECT pg_stat_force_next_flush()")
            updates = client.row(HOT, list(TABLES))
            size = client.value(SIZE, list(TABLES))
            for table in TABLES:
                client.execute(f"VACUUM FULL totp.{table}")
            bloat = size / client.value(SIZE, list(TABLES))
        odd = ODD.findall(cluster.log)
    calls = sum(ledger.calls.values())
    hot = 100 * updates.hot / updates.updates
    print(f"{growth=} kB, {bloat=:.2f}, {hot=:.1f} %, {slowest=:.2f} s, {updates}")
    assert odd == []
    assert growth <= GROWTH_LIMIT_KB
    assert hot >= HOT_PERCENT
    assert bloat <= BLOAT_LIMIT
    figures.record(
        "Long run",
        does="the same load at full speed; autovacuum runs, and keys are rotated"
        f" every {ROTATE_EVERY} s",
        ran=f"{SECONDS / 60:.0f} min, {calls:,} calls answered",
        lost=f"nothing; a server process grew by {growth} kB at most, tables were {bloat:.1f} times"
        f" their smallest size, {hot:.1f}% of updates were HOT, nobody waited for a lock for 1 s,"
        f" no error in the log; the slowest call took {slowest:.2f} s",
        again="TOTP_RUN_SECONDS=1800 pytest tests/e2e/test_long_run.py",
    )
