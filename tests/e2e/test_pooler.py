"""PgBouncer: no client gets anything of another one, in session mode and in transaction mode.

TOTP_POOL_CLIENTS is the number of clients.
"""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest

import figures
from client import Client
from conftest import DATABASE, new_account
from pooler import Pooler

CLIENTS = int(os.environ.get("TOTP_POOL_CLIENTS", "100"))
SESSIONS = 20
LIMIT = pytest.mark.timeout(60 + CLIENTS // 2)


@pytest.fixture(params=["session", "transaction"])
def pooler(cluster, request):
    files = 4 * CLIENTS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, files), hard), hard))
    options = {"mode": request.param, "sessions": SESSIONS, "clients": CLIENTS + 20}
    with Pooler(cluster, DATABASE, **options) as pooler:
        pooler.mode = request.param
        yield pooler


@LIMIT
def test_many_clients_over_few_sessions_each_spend_their_own_codes(pooler, dba):
    everybody = Barrier(CLIENTS, timeout=60 + CLIENTS // 10)
    prefix = new_account()

    def use(place):
        with closing(pooler.connect()) as connection:
            everybody.wait()
            client = Client(connection)
            # Each call queues behind those of all others: a code has to last.
            person = client.enrol(f"{prefix}-{place}", period=120, qr=False)
            pids = {client.value("SELECT pg_backend_pid()")}
            code = person.phone.take(client.now)
            answers = [client.verify(person.account, code) for _ in range(2)]
            backup_code = person.backup_codes[0]
            answers += [client.backup_verify(person.account, backup_code) for _ in range(2)]
            assert answers == [True, False, True, False], answers
            return pids

    with ThreadPoolExecutor(CLIENTS) as threads:
        pids = set().union(*threads.map(use, range(CLIENTS)))
    assert len(pids) <= SESSIONS
    events = (
        "SELECT outcome, count(*) FROM totp.audit_events WHERE event = 'verify' AND account LIKE %s"
    )
    counted = dict(dba.rows(f"{events} GROUP BY outcome", f"{prefix}-%"))
    assert counted["ok"] == 2 * CLIENTS
    assert sum(counted.values()) == 4 * CLIENTS
    figures.record(
        f"PgBouncer, {pooler.mode} mode",
        does="clients that are all connected at once enrol, log in and try their codes again, over"
        f" {SESSIONS} sessions",
        ran=f"{CLIENTS:,} clients, {4 * CLIENTS:,} codes",
        lost="nothing",
        again="TOTP_POOL_CLIENTS=1000 pytest tests/e2e/test_pooler.py",
    )


def test_clients_that_prepare_their_statements(pooler):
    """Drivers do so by themselves. In transaction mode, PgBouncer can do it since 1.21."""
    if pooler.mode == "transaction" and not pooler.has_prepared_statements:
        pytest.skip("this PgBouncer knows no prepared statements in transaction mode")
    for _ in range(3):
        with closing(pooler.connect(prepare_threshold=0)) as connection:
            client = Client(connection)
            person = client.enrol(new_account())
            for code in person.backup_codes[:3]:
                assert client.backup_verify(person.account, code)
                assert not client.backup_verify(person.account, code)


def test_discard_all_between_clients_leaves_no_identity_and_no_plan(pooler):
    """Least of all in transaction mode, where a setting is easily made for the next client, too."""
    with closing(pooler.connect()) as connection:
        client = Client(connection)
        person = client.enrol(new_account())
    seen = set()
    for code in person.backup_codes[:5]:
        with closing(pooler.connect()) as connection:
            client = Client(connection)
            with connection.transaction():
                assert client.value("SELECT current_setting('totp.client')") == ""
                client.execute("SELECT set_config('totp.client', '192.0.2.1', false)")
                seen.add(client.value("SELECT pg_backend_pid()"))
                assert client.backup_verify(person.account, code)
    assert len(seen) < 5, "no session was used twice"


def test_a_client_that_leaves_in_a_transaction_spends_its_code_and_leaves_no_lock(pooler):
    """The pooler rolls back for it; shared memory keeps the code."""
    with closing(pooler.connect()) as connection:
        client = Client(connection)
        person = client.enrol(new_account())
        code = person.phone.take(client.now)
        client.execute("BEGIN")
        assert client.verify(person.account, code)
    with closing(pooler.connect()) as connection:
        client = Client(connection)
        assert not client.verify(person.account, code)
        assert client.backup_verify(person.account, person.backup_codes[0])
