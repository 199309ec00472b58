"""The view metrics: what a member of pg_monitor reads, by the rules of Prometheus."""

import re
from contextlib import closing

import psycopg
import pytest

from client import Client
from cluster import Cluster
from conftest import install, new_account
from key_file import KeyFile

NAME = re.compile(r"totp_[a-z]+(_[a-z]+)*")
ROLES = """
CREATE ROLE app LOGIN IN ROLE totp_app;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE stranger LOGIN;
"""


def cluster_with(preload):
    with Cluster(preload=preload) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        yield cluster


@pytest.fixture(scope="module")
def server():
    yield from cluster_with(preload=True)


@pytest.fixture(scope="module")
def late_server():
    yield from cluster_with(preload=False)


class Monitor:
    """A member of pg_monitor, and the values that it reads."""

    def __init__(self, cluster):
        self.connection = cluster.connect("monitor")
        self.client = Client(self.connection)

    def rows(self):
        return self.client.rows("SELECT * FROM totp.metrics")

    def value(self, name, **labels):
        query = "SELECT value FROM totp.metrics WHERE name = %s AND labels @> %s::jsonb"
        return self.client.value(query, name, psycopg.types.json.Json(labels))


@pytest.fixture
def monitor(server):
    monitor = Monitor(server)
    with closing(monitor.connection):
        yield monitor


@pytest.fixture
def app(server):
    with closing(server.connect("app")) as connection:
        yield Client(connection)


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@pytest.mark.parametrize("kind", ["server", "late_server"])
def test_names_types_and_labels_follow_the_rules_of_prometheus(request, kind):
    monitor = Monitor(request.getfixturevalue(kind))
    with closing(monitor.connection):
        rows = monitor.rows()
    assert len(rows) > 40
    seen = set()
    for row in rows:
        assert NAME.fullmatch(row.name), row
        assert row.type == ("counter" if row.name.endswith("_total") else "gauge"), row
        assert row.help.endswith(".") and "\n" not in row.help
        assert all(isinstance(label, str) for label in row.labels.values())
        assert row.value >= 0
        key = row.name, *sorted(row.labels.items())
        assert key not in seen, "the same series twice"
        seen.add(key)
    for name in {row.name for row in rows}:
        assert (
            len({(row.help, row.type, *sorted(row.labels)) for row in rows if row.name == name})
            == 1
        )


@pytest.mark.parametrize("kind", ["server", "late_server"])
def test_zeros_are_always_there(request, kind):
    monitor = Monitor(request.getfixturevalue(kind))
    source = "memory" if kind == "server" else "tables"
    with closing(monitor.connection):
        for method in ("totp", "backup", "pass", "none"):
            for outcome in (
                *("ok", "invalid", "replayed", "cold_start", "clock_off", "locked"),
                *("suspended", "not_enrolled"),
            ):
                assert (
                    monitor.value(
                        "totp_verifications_total", method=method, outcome=outcome, source=source
                    )
                    >= 0
                )
        for state in ("primary", "old", "missing"):
            assert monitor.value("totp_keys", state=state) >= 0
        assert monitor.value("totp_preloaded") == (kind == "server")


def counts(monitor):
    query = "SELECT labels, value FROM totp.metrics WHERE name = 'totp_verifications_total'"
    return {
        (row.labels["method"], row.labels["outcome"]): row.value
        for row in monitor.client.rows(query)
    }


def changes(before, after):
    return {key: after[key] - before[key] for key in after if after[key] != before[key]}


def test_each_verification_is_counted_once(app, dba, monitor):
    person = app.enrol(new_account())
    dba.execute("SET totp.lockout = '1s'")
    before = counts(monitor)
    a_pass = dba.call("pass_issue", account=person.account, reason="a test")[0]
    assert app.backup_verify(person.account, a_pass)
    code = person.phone.code(app.now, 1)
    assert app.verify(person.account, code)
    assert not app.verify(person.account, code)
    assert app.backup_verify(person.account, person.backup_codes[0])
    assert not app.backup_verify(person.account, person.backup_codes[0])
    app.verify(new_account(), "123456")
    app.backup_verify(new_account(), "0000-0000-0000-0000")
    app.fail(person, 4)
    app.attempt(person.account, person.phone.wrong(app.now))
    assert app.attempt(person.account, person.phone.wrong(app.now)).reason == "locked"
    assert changes(before, counts(monitor)) == {
        ("totp", "ok"): 1,
        ("totp", "replayed"): 1,
        ("backup", "ok"): 1,
        ("backup", "replayed"): 1,
        ("pass", "ok"): 1,
        ("totp", "not_enrolled"): 1,
        ("backup", "not_enrolled"): 1,
        ("totp", "invalid"): 4,
        ("none", "locked"): 2,
    }


def test_what_is_rolled_back_counts(app, monitor):
    person = app.enrol(new_account())
    before = counts(monitor)
    with app.connection.transaction(force_rollback=True):
        app.fail(person, 3)
    assert changes(before, counts(monitor)) == {("totp", "invalid"): 3}


def test_without_shared_memory_the_tables_are_counted(late_server):
    monitor = Monitor(late_server)
    with closing(monitor.connection), closing(late_server.connect("app")) as connection:
        app = Client(connection)
        person = app.enrol(new_account())
        before = counts(monitor)
        app.fail(person, 3)
        assert app.backup_verify(person.account, person.backup_codes[0])
        with closing(late_server.connect()) as other:
            a_pass = Client(other).call("pass_issue", account=person.account, reason="a test")[0]
        assert app.backup_verify(person.account, a_pass)
        with app.connection.transaction(force_rollback=True):
            app.fail(person, 2)
        assert changes(before, counts(monitor)) == {
            ("none", "invalid"): 3,
            ("backup", "ok"): 1,
            ("pass", "ok"): 1,
        }


def test_gauges_say_what_there_is(app, dba, monitor, server):
    before = {(row.name, *row.labels.values()): row.value for row in monitor.rows()}
    one, two = (app.enrol(new_account()) for _ in range(2))
    app.create(new_account())
    app.fail(one, 5)
    dba.execute(
        "UPDATE totp.accounts SET failures = 100, suspended = true WHERE account = %s", two.account
    )
    after = {(row.name, *row.labels.values()): row.value for row in monitor.rows()}
    changed = {key[0]: after[key] - before[key] for key in after if after[key] != before[key]}
    assert changed["totp_accounts"] == 3
    assert changed["totp_locked_accounts"] == 1
    assert changed["totp_suspended_accounts"] == 1
    assert changed["totp_pending_factors"] == 1
    assert changed["totp_events_unread"] == 3
    assert changed["totp_audit_unsealed_rows"] == 10
    dba.value("SELECT totp.audit_seal()")
    dba.rows("SELECT * FROM totp.events_read(0, 10000)")
    assert monitor.value("totp_audit_unsealed_rows") == 0
    assert monitor.value("totp_audit_last_seal_age_seconds") < 60
    assert monitor.value("totp_events_unread") == 0
    # Once a recovery has taken effect, nothing is locked.
    dba.execute("UPDATE totp.accounts SET recovery_at = now() + '1 hour'")
    assert monitor.value("totp_locked_accounts") == before["totp_locked_accounts",] + 1
    assert monitor.value("totp_suspended_accounts") == before["totp_suspended_accounts",] + 1
    dba.execute("UPDATE totp.accounts SET recovery_at = now() - interval '1 hour'")
    assert monitor.value("totp_locked_accounts") == 0
    assert monitor.value("totp_suspended_accounts") == 0
    dba.execute("UPDATE totp.accounts SET recovery_at = NULL")
    dba.execute("UPDATE totp.accounts SET failures = 0, locked_until = NULL, suspended = false")


def test_keys_and_rows_under_old_ones_are_counted(app, dba, monitor, server):
    file = KeyFile(server)
    app.enrol(new_account())
    old = file.keys[0]
    new = dba.value("SELECT totp.key_generate()")
    try:
        file.write(new, old)
        states = {
            state: monitor.value("totp_keys", state=state)
            for state in ("primary", "old", "missing")
        }
        assert states == {"primary": 1, "old": 1, "missing": 0}
        assert monitor.value("totp_rows_under_old_keys") >= 11
        file.write(new)
        assert monitor.value("totp_keys", state="missing") == 1
        file.remove()
        assert monitor.value("totp_keyring_readable") == 0
        assert monitor.value("totp_keys", state="primary") == 0
    finally:
        file.restore()
    assert monitor.value("totp_rows_under_old_keys") == 0


def test_no_account_is_in_it(app, monitor):
    person = app.enrol("somebody-with-a-name")
    app.fail(person, 5)
    assert "somebody" not in str(monitor.rows())


def test_others_read_no_metrics(server):
    for role in ("stranger", "app"):
        with closing(server.connect(role)) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM totp.metrics")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM totp.metric_values()")


def test_the_grants_to_pg_monitor_are_ours(dba):
    query = "SELECT status, detail FROM totp.preflight() WHERE check_name = 'grants'"
    assert dba.row(query).status == "ok"


def test_a_standby_has_metrics(server, monitor):
    standby = server.standby()
    try:
        standby.wait_for_replay(server)
        reader = Monitor(standby)
        with closing(reader.connection):
            names = {row.name for row in reader.rows()}
            assert names == {row.name for row in monitor.rows()}
            assert reader.value("totp_accounts") == monitor.value("totp_accounts")
    finally:
        standby.destroy()


def test_a_query_for_one_metric_reads_only_its_tables(dba):
    explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)"
    rows = dba.rows(f"{explain} SELECT * FROM totp.metrics WHERE name = 'totp_guard_slots'")
    lines = [row[0] for row in rows]
    assert any("metric_values" in line for line in lines)
    for line in lines:
        if " on audit_events" in line or " on factors" in line:
            assert "never executed" in line
