"""contrib/monitoring: each file is parsed, and its SQL runs as a member of pg_monitor."""

import json
import re
from contextlib import closing

import pytest
import yaml

from client import Client
from cluster import ROOT, Cluster
from conftest import install

FILES = ROOT / "contrib/monitoring"
ROLES = """
CREATE ROLE app LOGIN IN ROLE totp_app;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE auditor LOGIN IN ROLE totp_auditor;
"""
NAME = re.compile(r"\btotp_\w+")


@pytest.fixture(scope="module")
def server():
    with Cluster() as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        with closing(cluster.connect("app")) as connection:
            client = Client(connection)
            client.fail(client.enrol("alice"), 2)
        yield cluster


@pytest.fixture
def monitor(server):
    with closing(server.connect("monitor")) as connection:
        yield Client(connection)


@pytest.fixture
def truth(monitor):
    """The values of the view by name and labels, except those that change with time."""
    return {
        (row.name, *sorted(row.labels.items())): row.value
        for row in monitor.rows("SELECT * FROM totp.metrics")
        if not row.name.endswith("_seconds")
    }


@pytest.fixture
def types(monitor):
    return {row.name: row.type for row in monitor.rows("SELECT name, type FROM totp.metrics")}


def load(name):
    return yaml.safe_load((FILES / name).read_text())


def assert_same(found, truth):
    found = {key: value for key, value in found.items() if not key[0].endswith("_seconds")}
    assert found == truth


def named(row, labels):
    return tuple(sorted((label, getattr(row, label)) for label in labels))


def test_every_file_is_tested():
    found = {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()}
    assert found == {
        *("alerts.yml", "cloudnativepg.yaml", "grafana.json", "otel-collector.yaml"),
        *("pg_exporter.yml", "pgwatch.yaml", "sql_exporter/sql_exporter.yml"),
        *("sql_exporter/totp.collector.yml", "sql_exporter/totp_rows.collector.yml"),
    }


def collectors():
    """The collectors of sql_exporter, as its configuration finds them."""
    configuration = load("sql_exporter/sql_exporter.yml")
    (pattern,) = configuration["collector_files"]
    found = {}
    for path in (FILES / "sql_exporter").glob(pattern):
        collector = yaml.safe_load(path.read_text())
        found[collector["collector_name"]] = collector
    assert set(found) == set(configuration["target"]["collectors"])
    return found.values()


def exposition(client):
    """What sql_exporter would answer a scrape: each query's rows in Prometheus' text format."""
    for collector in collectors():
        for metric in collector["metrics"]:
            name, labels = metric["metric_name"], metric.get("key_labels", [])
            yield f"# HELP {name} {metric['help']}"
            yield f"# TYPE {name} {metric['type']}"
            for row in client.rows(metric["query"]):
                pairs = ",".join(f'{label}="{getattr(row, label)}"' for label in labels)
                (column,) = metric["values"]
                yield f"{name}{{{pairs}}} {getattr(row, column)}"


SAMPLE = re.compile(r'(\w+)\{((?:\w+="[^"\\\n]*",?)*)\} (\S+)')


def test_a_scrape_gives_the_view_in_prometheus_text_format(monitor, truth, types):
    found, said = {}, {}
    for line in exposition(monitor):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            said[name] = kind
        elif not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name in said
            found[(name, *sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] = float(value)
    assert_same(found, truth)
    assert said == types


def queries_with_usages(collectors, monitor, truth, types):
    """Checks collectors that say what each column is: label, counter or gauge."""
    found = {}
    for name, collector in collectors.items():
        usages = {
            column: about["usage"]
            for metric in collector["metrics"]
            for column, about in metric.items()
        }
        assert all(
            about["description"] for metric in collector["metrics"] for about in metric.values()
        )
        labels = [column for column, usage in usages.items() if usage == "LABEL"]
        rows = monitor.rows(collector["query"])
        assert rows and list(rows[0]._fields) == list(usages)
        for row in rows:
            for column in usages.keys() - set(labels):
                series = metric_named(name, column)
                assert usages[column].lower() == types[series]
                found[(series, *named(row, labels))] = getattr(row, column)
    assert_same(found, truth)


def metric_named(collector, column):
    """The metric of the view that a column shows."""
    if collector in ("totp", "totp_rows"):
        return f"totp_{column}"
    return collector if column == "number" else f"{collector}_{column}"


def test_cloudnativepg_reads_the_view(monitor, truth, types):
    map = load("cloudnativepg.yaml")
    assert (map["apiVersion"], map["kind"]) == ("v1", "ConfigMap")
    queries = yaml.safe_load(map["data"]["queries"])
    assert all(query["target_databases"] for query in queries.values())
    queries_with_usages(queries, monitor, truth, types)


def test_pg_exporter_reads_the_view(monitor, truth, types):
    collectors = load("pg_exporter.yml")
    assert all(collector["ttl"] and collector["timeout"] for collector in collectors.values())
    queries_with_usages(collectors, monitor, truth, types)


def test_pgwatch_reads_the_view(monitor, truth, types):
    file = load("pgwatch.yaml")
    assert set(file["presets"]["totp"]["metrics"]) == set(file["metrics"])
    found = {}
    for name, metric in file["metrics"].items():
        assert metric["description"]
        (sql,) = metric["sqls"].values()
        for row in monitor.rows(sql):
            values = row._asdict()
            assert values.pop("epoch_ns") > 10**18
            labels = {
                column.removeprefix("tag_"): values.pop(column)
                for column in list(values)
                if column.startswith("tag_")
            }
            for column, value in values.items():
                found[(metric_named(name, column), *sorted(labels.items()))] = value
    assert_same(found, truth)


def test_opentelemetry_reads_the_view(monitor, truth, types):
    receivers = load("otel-collector.yaml")["receivers"]
    found = {}
    for receiver in receivers.values():
        for query in receiver["queries"]:
            for metric in query.get("metrics", []):
                name, labels = metric["metric_name"], metric.get("attribute_columns", [])
                assert (metric["data_type"] == "sum") == (types[name] == "counter")
                assert metric.get("monotonic", False) == (types[name] == "counter")
                for row in monitor.rows(query["sql"]):
                    value = getattr(row, metric["value_column"])
                    found[(name, *named(row, labels))] = value
    assert_same(found, truth)


def test_opentelemetry_reads_the_audit_trail_and_misses_no_late_commit(server):
    (query,) = load("otel-collector.yaml")["receivers"]["sqlquery/totp_audit"]["queries"]
    (log,) = query["logs"]
    sql = query["sql"].replace("$$1", "%s")
    after, bodies = query["tracking_start_value"], []

    def read(client):
        nonlocal after
        for row in client.rows(sql, str(after)):
            values = row._asdict()
            assert set(log["attribute_columns"]) | {log["body_column"]} <= values.keys()
            bodies.append((values["account"], values[log["body_column"]]))
            after = values[query["tracking_column"]]

    with (
        closing(server.connect("auditor")) as auditor,
        closing(server.connect("app")) as fast,
        closing(server.connect("app", autocommit=False)) as slow,
    ):
        reader = Client(auditor)
        read(reader)
        assert ("alice", "verify invalid") in bodies
        Client(slow).recovery("slow")
        Client(fast).recovery("fast")
        read(reader)
        slow.commit()
        read(reader)
    assert bodies[-2:] == [("slow", "recovery_create ok"), ("fast", "recovery_create ok")]
    assert len(bodies) == len(set(bodies)) + 1


def test_alerts_and_dashboard_use_metrics_that_exist(types):
    rules = [rule for group in load("alerts.yml")["groups"] for rule in group["rules"]]
    assert len(rules) > 8
    for rule in rules:
        assert rule["alert"] and rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert set(NAME.findall(rule["expr"])) <= types.keys()
    dashboard = json.loads((FILES / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set(NAME.findall(" ".join(expressions))) <= types.keys()
    shown = set(NAME.findall(" ".join([*expressions, *(rule["expr"] for rule in rules)])))
    assert types.keys() - shown <= {"totp_guard_evictions_total", "totp_audit_seals_total"}
