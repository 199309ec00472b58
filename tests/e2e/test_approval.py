"""Approvals: a code for exactly one row or one action, as docs/approvals.md says.

The agent is a login role whose account is its name (totp.identity = role). Alice is a person, who
confirms in another connection.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import psycopg
import pytest
from psycopg.types.json import Jsonb

from client import Client, Traveller
from cluster import ROOT, Cluster, until
from conftest import ROLES, install
from refusal import NOT_ALLOWED, refused

PAGE = (ROOT / "docs" / "approvals.md").read_text()
SQL_BLOCKS = re.findall(r"^ *```sql\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
AGENT = ROOT / "examples" / "agent"
TABLE = """
CREATE TABLE {table} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, recipient text, amount numeric, note text);
GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO agent;
"""
TRIGGER = """
CREATE TRIGGER approved AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW
    EXECUTE FUNCTION totp.{function}('transfer', 'recipient', 'amount')
"""
TEN = {"recipient": "bob", "amount": 10}
VALUES = [
    "interval '1 day 2 h'",
    "interval '-1 mon +3 days 00:00:00.5'",
    "ARRAY[interval '1 day']",
    "timestamp '2030-01-01 12:00:00.50'",
    "timestamptz '2030-01-01 12:00:00+02'",
    "date '2030-01-01'",
    "numeric '10.00'",
    "1e100::double precision",
    "'\\x00ff'::bytea",
    "inet '10.0.0.1'",
    "int4range(1, 5)",
    "ARRAY[NULL, 2]",
]


@pytest.fixture(scope="module")
def server():
    """A cluster for this page; logical replication needs its own setting."""
    with Cluster(settings={"wal_level": "logical"}) as server:
        install(server, "postgres")
        server.execute(ROLES, "CREATE ROLE agent LOGIN IN ROLE totp_user")
        server.execute("CREATE ROLE other_agent LOGIN IN ROLE totp_user")
        for role in ("agent", "other_agent"):
            server.execute(f"ALTER ROLE {role} SET totp.identity = 'role'")
        yield server


@pytest.fixture
def connect(server):
    opened = []

    def connect(role="postgres", **options):
        opened.append(server.connect(role, **options))
        return Client(opened[-1])

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def dba(connect):
    """A superuser, who first removes the approvals of other tests."""
    dba = connect()
    dba.execute("DELETE FROM totp.approvals")
    return dba


@pytest.fixture
def app(connect):
    return connect("app")


@pytest.fixture
def agent(connect):
    return connect("agent")


@pytest.fixture(scope="module")
def alice(server):
    with closing(server.connect("app")) as connection:
        return Client(connection).enrol("alice").account


@pytest.fixture
def code(dba):
    """A function that gives an unused code of an account."""

    def code(account="alice"):
        return dba.call("backup_reissue", account=account, reason="a test")[0][0]

    return code


@pytest.fixture
def table(dba, request):
    """A table whose rows need an approval by another account."""
    name = f"transfers_{abs(hash(request.node.name)) % 10**9}"
    dba.execute(TABLE.format(table=name))
    dba.execute(TRIGGER.format(table=name, function="require_other_approval"))
    yield name
    dba.execute(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def approve(agent, app, alice, code):
    """A function with which the agent asks, and Alice confirms."""

    def approve(payload, action="transfer", **options):
        asked = request(agent, payload, action, approver=alice, **options)
        assert app.call("approval_confirm", id=asked.id, code=code()).verified
        return asked

    return approve


def request(client, payload, action="transfer", **options):
    arguments = {"action": action, "payload": Jsonb(payload), **options}
    return client.call("approval_request", "totp_api", **arguments)


def insert(client, table, recipient="bob", amount="10", **options):
    query = f"INSERT INTO {table} (recipient, amount) VALUES (%s, %s) RETURNING id"
    return client.value(query, recipient, Decimal(amount))


def not_allowed():
    return refused(NOT_ALLOWED)


# The row, and nothing but the row


def test_the_approved_row_is_written_once(agent, table, approve):
    with not_allowed():
        insert(agent, table)
    approve(TEN)
    insert(agent, table)
    with not_allowed():
        insert(agent, table)
    assert agent.value(f"SELECT count(*) FROM {table}") == 1


@pytest.mark.parametrize(
    ("recipient", "amount"), [("bob", "10.01"), ("bob", "-10"), ("Bob", "10"), (None, "10")]
)
def test_a_changed_value_is_refused_and_the_approval_is_kept(
    agent, table, approve, recipient, amount
):
    approve(TEN)
    with not_allowed():
        insert(agent, table, recipient, amount)
    insert(agent, table)


@pytest.mark.parametrize("amount", ["10", "10.00", "1e1", "0010.0"])
def test_amounts_are_compared_by_value(agent, table, approve, amount):
    approve(TEN)
    insert(agent, table, amount=amount)


@pytest.mark.parametrize("value", VALUES)
def test_what_sql_writes_as_json_is_what_the_row_contains(dba, agent, approve, value):
    """In both directions: jsonb_build_object is the shortest way to a payload."""
    dba.execute(f"""DROP TABLE IF EXISTS valued; CREATE TABLE valued AS SELECT {value} AS v LIMIT 0;
        GRANT INSERT ON valued TO agent;
        CREATE TRIGGER approved AFTER INSERT ON valued FOR EACH ROW
            EXECUTE FUNCTION totp.require_approval('transfer', 'v')""")
    with not_allowed():
        agent.execute(f"INSERT INTO valued VALUES ({value})")
    approve(agent.value(f"SELECT jsonb_build_object('v', {value})"))
    agent.execute(f"INSERT INTO valued VALUES ({value})")
    dba.execute("DROP TABLE valued")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("timestamptz", "2030-01-01T10:00Z"),
        ("timestamptz", "2030-01-01T12:00:00+0200"),
        ("timestamptz", "2030-01-01 10:00:00.000+00"),
        ("timestamp", "2030-01-01 10:00:00"),
        ("timestamp", "2030-01-01T10:00"),
    ],
)
def test_times_are_compared_by_value(dba, agent, approve, kind, text):
    dba.execute(f"""DROP TABLE IF EXISTS timed; CREATE TABLE timed (at {kind});
        GRANT INSERT ON timed TO agent;
        CREATE TRIGGER approved AFTER INSERT ON timed FOR EACH ROW
            EXECUTE FUNCTION totp.require_approval('transfer', 'at')""")
    approve({"at": text})
    with not_allowed():
        agent.execute("INSERT INTO timed VALUES ('2030-01-01 10:00:01+00')")
    agent.execute("INSERT INTO timed VALUES ('2030-01-01 10:00:00+00')")
    dba.execute("DROP TABLE timed")


def test_an_expired_approval_is_refused(connect, dba, agent, table, approve):
    asked = approve(TEN, ttl="1 min")
    dba.execute("UPDATE totp.approvals SET expires_at = clock_timestamp() WHERE id = %s", asked.id)
    with not_allowed():
        insert(agent, table)
    assert agent.call("approval_status", "totp_api", id=asked.id).state == "expired"


def test_a_cancelled_approval_is_refused(agent, table, approve):
    asked = approve(TEN)
    assert agent.call("approval_cancel", "totp_api", id=asked.id).cancelled is True
    with not_allowed():
        insert(agent, table)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_requests_that_nobody_confirms_do_not_pile_up(connect, dba, end):
    """A session with the password only can make as many as it likes."""
    name = f"flood {end}"
    client = Traveller(dba.connection)
    for _ in range(130):
        asked = client.call("approval_request", action="a", payload="{}", account=name, ttl="1 s")
        if end == "expired":
            client.wait(2)
        else:
            client.call("approval_cancel", id=asked.id)
    kept, latest = client.row(
        "SELECT count(*), max(requested_at) FROM totp.approvals WHERE account = %s", name
    )
    assert kept in (100, 101) and client.call("approval_status", id=asked.id).state == end
    assert latest.timestamp() >= client.now - 2
    minutes = 1 if end == "cancelled" else 6
    events = "SELECT count(*) FROM totp.events WHERE account = %s AND event = 'approval_asked'"
    entries = "SELECT count(*) FROM totp.audit_log WHERE account = %s"
    assert 0 < client.value(events, name) <= 20 * minutes
    assert 0 < client.value(entries, name) <= 20 * minutes


def test_a_code_for_a_locked_account_writes_nothing(connect, app, dba):
    client = Traveller(dba.connection)
    person = client.enrol("locked approver")
    asked = client.call("approval_request", action="a", payload="{}", account=person.account)
    client.fail(person, 5)
    with client.connection.transaction():
        verdict = client.call("approval_confirm", id=asked.id, code=person.backup_codes[0])
        assert (verdict.reason, verdict.account) == ("locked", person.account)
        assert client.value("SELECT pg_current_xact_id_if_assigned()") is None
    client.wait(30)
    assert client.call("approval_confirm", id=asked.id, code=person.backup_codes[0]).verified


def test_the_hint_carries_the_request_to_make(agent, app, alice, code, table):
    with not_allowed() as caught:
        insert(agent, table, "O'Neill", "12.50")
    hint = caught.value.diag.message_hint
    statement = hint.partition(": ")[2].rstrip(".").replace("'...'", f"'{alice}'")
    asked = agent.row(statement)
    assert app.call("approval_confirm", id=asked.id, code=code()).verified
    insert(agent, table, "O'Neill", "12.50")


@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET amount = 1"])
def test_the_hint_shows_no_column_that_the_role_may_not_read(agent, dba, table, approve, change):
    approve(TEN)
    insert(agent, table)
    dba.execute(
        f"REVOKE SELECT ON {table} FROM agent; GRANT SELECT (id, amount) ON {table} TO agent"
    )
    with not_allowed() as caught:
        agent.execute(change.format(table))
    assert "bob" not in str(caught.value.diag.message_hint)
    dba.execute(f"GRANT SELECT (recipient) ON {table} TO agent")
    with not_allowed() as caught:
        agent.execute(change.format(table))
    assert "bob" in caught.value.diag.message_hint


@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET amount = 1"])
def test_the_hint_shows_no_row_that_a_policy_may_hide(agent, dba, table, approve, change):
    approve(TEN)
    insert(agent, table)
    dba.execute(f"""ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY change ON {table} USING (true)""")
    with not_allowed() as caught:
        agent.execute(change.format(table))
    assert "bob" not in str(caught.value.diag.message_hint)
    # The values of a new row are the caller's own.
    with not_allowed() as caught:
        insert(agent, table, "carol")
    assert "carol" in caught.value.diag.message_hint


# Whose approval, and whose session


def test_one_s_own_approval_is_none_where_another_s_is_asked(connect, dba, app, table, code):
    """The agent could enrol a phone of its own."""
    agent = connect("agent")
    app.enrol("agent")
    asked = request(agent, TEN)
    assert agent.call("approval_confirm", "totp_api", id=asked.id, code=code("agent")).verified
    with not_allowed():
        insert(agent, table)
    dba.execute(f"DROP TRIGGER approved ON {table}")
    dba.execute(TRIGGER.format(table=table, function="require_approval"))
    insert(agent, table)
    dba.call("totp_forget", account="agent", reason="a test")


def test_the_requester_s_code_does_not_confirm_for_the_approver(agent, dba, app, alice, code):
    asked = request(agent, TEN, approver=alice)
    app.enrol("agent")
    own = code("agent")
    by_session = agent.call("approval_confirm", "totp_api", id=asked.id, code=own)
    assert (by_session.verified, by_session.reason, by_session.account) == (False, "invalid", None)
    verdict = app.call("approval_confirm", id=asked.id, code=own)
    assert (verdict.verified, verdict.reason, verdict.account) == (False, "invalid", alice)
    assert app.backup_verify("agent", own) is True, "the code is not spent"
    dba.call("totp_forget", account="agent", reason="a test")


def test_another_session_of_the_account_may_use_it(connect, table, approve):
    approve(TEN)
    insert(connect("agent"), table)


def test_a_session_of_another_account_may_not(connect, dba, table, approve):
    dba.execute(f"GRANT INSERT, SELECT ON {table} TO other_agent")
    approve(TEN)
    other = connect("other_agent")
    with not_allowed():
        insert(other, table)
    for claims in ('{"sub": "agent"}', ""):
        other.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        with not_allowed():
            insert(other, table)
    assert other.call("approval_status", "totp_api", id=approve(TEN).id).state is None


def test_a_code_for_an_action_does_not_verify_the_session(connect, server, app, code):
    server.execute("CREATE ROLE payer LOGIN IN ROLE totp_user")
    server.execute("ALTER ROLE payer SET totp.identity = 'role'")
    app.enrol("payer")
    payer = connect("payer")
    asked = request(payer, TEN)
    assert payer.call("approval_confirm", "totp_api", id=asked.id, code=code("payer")).verified
    assert payer.value("SELECT totp.totp_verified()") is False


def test_a_change_of_factors_voids_what_was_confirmed(agent, app, dba, alice, code, table):
    bob = app.enrol("approver who loses a phone")
    asked = request(agent, TEN, approver=bob.account)
    assert app.call("approval_confirm", id=asked.id, code=bob.backup_codes[0]).verified
    assert app.call("approval_status", id=asked.id).state == "confirmed"
    dba.call("totp_reset", account=bob.account, reason="stolen phone")
    with not_allowed():
        insert(agent, table)
    assert app.call("approval_status", id=asked.id).state == "cancelled"


# Which table, and which statement


def test_another_table_with_the_same_columns(dba, agent, table, approve):
    """The action tells tables apart; two tables with one action share their approvals."""
    other = f"{table}_other"
    dba.execute(TABLE.format(table=other))
    dba.execute(
        TRIGGER.format(table=other, function="require_other_approval").replace(
            "'transfer'", "'refund'"
        )
    )
    approve(TEN)
    with not_allowed():
        insert(agent, other)
    dba.execute(f"DROP TRIGGER approved ON {other}")
    dba.execute(TRIGGER.format(table=other, function="require_other_approval"))
    insert(agent, other)
    with not_allowed():
        insert(agent, table)
    dba.execute(f"DROP TABLE {other}")


@pytest.mark.parametrize("name", ["a_change", "z_change"])
def test_a_trigger_that_changes_the_row_is_seen_whatever_its_name(dba, agent, table, approve, name):
    """BEFORE triggers run in the order of their names. Ours comes after all of them, so it sees the
    row that is stored."""
    dba.execute("""
        CREATE OR REPLACE FUNCTION public.take_more() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.amount := NEW.amount * 100; RETURN NEW; END $$
    """)
    dba.execute(
        f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION public.take_more()"
    )
    approve(TEN)
    with not_allowed():
        insert(agent, table)
    approve({**TEN, "amount": 1000})
    insert(agent, table)


def test_an_after_trigger_that_changes_the_row_needs_its_own_approval(dba, agent, table, approve):
    dba.execute(f"""
        CREATE OR REPLACE FUNCTION public.take_more_later() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN UPDATE {table} SET amount = 1000 WHERE id = NEW.id; RETURN NULL; END $$
    """)
    dba.execute(
        f"CREATE TRIGGER z_change AFTER INSERT ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION public.take_more_later()"
    )
    approve(TEN)
    with not_allowed():
        insert(agent, table)


def test_a_column_that_is_not_approved_changes_freely(agent, table, approve):
    approve(TEN)
    number = insert(agent, table)
    agent.execute(f"UPDATE {table} SET note = 'paid', amount = 10.000 WHERE id = %s", number)
    with not_allowed():
        agent.execute(f"UPDATE {table} SET note = 'paid', amount = 11")
    approve({**TEN, "amount": 11, "old": {"id": number + 1}})
    with not_allowed():
        agent.execute(f"UPDATE {table} SET amount = 11")
    approve({**TEN, "amount": 11, "old": {"id": number}})
    agent.execute(f"UPDATE {table} SET amount = 11")


def test_a_changed_key_is_approved_as_well(dba, agent, table, approve):
    dba.execute(f"ALTER TABLE {table} ALTER id SET GENERATED BY DEFAULT")
    approve(TEN)
    number = insert(agent, table)
    approve({**TEN, "amount": 11, "old": {"id": number}})
    with not_allowed():
        agent.execute(f"UPDATE {table} SET amount = 11, id = 999")
    approve({**TEN, "amount": 11, "id": 999, "old": {"id": number}})
    dba.execute(f"ALTER TABLE {table} ALTER id DROP IDENTITY")
    agent.execute(f"UPDATE {table} SET amount = 11, id = 999")


def test_a_deletion_is_approved_with_what_it_deletes(agent, table, approve):
    approve(TEN)
    number = insert(agent, table)
    approve({"old": {"id": number}})
    with not_allowed():
        agent.execute(f"DELETE FROM {table}")
    approve({"old": {"id": number, **TEN}})
    agent.execute(f"DELETE FROM {table}")


def test_copy_of_a_thousand_rows_with_one_approval_writes_none(agent, table, approve):
    asked = approve(TEN)
    rows = "bob\t10\n" * 1000
    with (
        not_allowed(),
        agent.connection.cursor() as cursor,
        cursor.copy(f"COPY {table} (recipient, amount) FROM STDIN") as copy,
    ):
        copy.write(rows)
    assert agent.value(f"SELECT count(*) FROM {table}") == 0
    assert agent.call("approval_status", "totp_api", id=asked.id).state == "confirmed"
    into = f"COPY {table} (recipient, amount) FROM STDIN"
    with agent.connection.cursor() as cursor, cursor.copy(into) as copy:
        copy.write("bob\t10.0\n")


def test_a_thousand_rows_need_a_thousand_approvals(agent, dba, table, approve):
    """And equal approvals are as good as each other."""
    for _ in range(3):
        approve(TEN)
    query = f"INSERT INTO {table} (recipient, amount) SELECT 'bob', 10 FROM generate_series(1, %s)"
    with not_allowed():
        agent.execute(query, 4)
    agent.execute(query, 3)
    with not_allowed():
        agent.execute(query, 1)


def test_a_partition_is_no_way_around(dba, agent, approve):
    dba.execute("""
        CREATE TABLE parted (id integer, recipient text, amount numeric, PRIMARY KEY (id))
            PARTITION BY RANGE (id);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
        GRANT SELECT, INSERT, UPDATE, DELETE ON parted, parted_1 TO agent
    """)
    dba.execute(TRIGGER.format(table="parted", function="require_other_approval"))
    for table in ("parted", "parted_1"):
        query = f"INSERT INTO {table} VALUES (%s, 'bob', 10)"
        with not_allowed():
            agent.execute(query, 1)
        approve(TEN)
        agent.execute(query, len(table))
    dba.execute("DROP TABLE parted")


# Transactions


def test_of_fifty_uses_at_once_one_passes(server, dba, agent, table, approve):
    approve(TEN)

    def use(_):
        with closing(server.connect("agent")) as connection:
            try:
                insert(Client(connection), table)
            except psycopg.errors.InsufficientPrivilege:
                return False
            return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(use, range(50))) == 1
    assert agent.value(f"SELECT count(*) FROM {table}") == 1


def test_of_fifty_confirmations_at_once_one_spends_a_code(server, agent, dba, alice):
    asked = request(agent, TEN, approver=alice)
    dba.execute("SET totp.backup_codes = 50")
    codes = dba.call("backup_reissue", account=alice, reason="a test")[0]
    dba.execute("RESET totp.backup_codes")

    def confirm(code):
        with closing(server.connect("app")) as connection:
            return Client(connection).call("approval_confirm", id=asked.id, code=code).reason

    with ThreadPoolExecutor(50) as pool:
        reasons = list(pool.map(confirm, codes))
    assert sorted(set(reasons)) == ["ok", "spent"] and reasons.count("ok") == 1
    assert dba.backup_remaining(alice) == 49


def test_a_rollback_gives_the_approval_back(agent, table, approve):
    asked = approve(TEN)

    def state():
        return agent.call("approval_status", "totp_api", id=asked.id).state

    with agent.connection.transaction(force_rollback=True):
        insert(agent, table)
        assert state() == "used"
    assert state() == "confirmed"
    with agent.connection.transaction():
        with agent.connection.transaction(force_rollback=True):
            insert(agent, table)
        # Back to a savepoint, the row and its use are both undone.
        insert(agent, table)
        with not_allowed(), agent.connection.transaction():
            insert(agent, table)
    assert state() == "used"
    assert agent.value(f"SELECT count(*) FROM {table}") == 1


def test_a_confirmation_that_is_rolled_back_is_none(agent, app, alice, code, table):
    asked = request(agent, TEN, approver=alice)
    with app.connection.transaction(force_rollback=True):
        assert app.call("approval_confirm", id=asked.id, code=code()).verified
    with not_allowed():
        insert(agent, table)


def test_a_deferred_trigger_uses_it_at_commit(dba, agent, table, approve):
    dba.execute(f"DROP TRIGGER approved ON {table}")
    trigger = TRIGGER.format(table=table, function="require_other_approval")
    trigger = trigger.replace("CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER")
    dba.execute(trigger.replace("FOR EACH ROW", "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"))
    with not_allowed():
        insert(agent, table)
    approve(TEN)
    insert(agent, table)


def test_at_serializable_only_one_of_two_passes(connect, agent, table, approve):
    approve(TEN)
    other = connect("agent", autocommit=False)
    other.connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    assert other.value(f"SELECT count(*) FROM {table}") == 0
    insert(agent, table)
    with pytest.raises((psycopg.errors.SerializationFailure, psycopg.errors.InsufficientPrivilege)):
        insert(other, table)
        other.connection.commit()
    other.connection.rollback()
    assert agent.value(f"SELECT count(*) FROM {table}") == 1


# Other ways in


def test_a_security_definer_function_uses_the_approval_of_the_session(dba, agent, table, approve):
    """Not that of its owner: a superuser's function has no account of its own."""
    dba.execute(f"""
        CREATE OR REPLACE FUNCTION public.pay(recipient text, amount numeric) RETURNS void
        LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO {table} (recipient, amount) VALUES ($1, $2)'
    """)
    with not_allowed():
        agent.execute("SELECT public.pay('bob', 10)")
    approve(TEN)
    agent.execute("SELECT public.pay('bob', 10)")
    with not_allowed():
        agent.execute("SELECT public.pay('bob', 10)")
    dba.execute("DROP FUNCTION public.pay(text, numeric)")


def test_a_function_uses_an_approval_for_an_action_that_is_no_row(dba, agent, approve):
    dba.execute("""
        CREATE FUNCTION public.restart(service text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            IF NOT totp.approval_use('service.restart', jsonb_build_object('service', service)) THEN
                RAISE insufficient_privilege;
            END IF;
            RETURN 'restarted ' || service;
        END $$
    """)
    call = "SELECT public.restart(%s)"
    approve({"service": "mail"}, "service.restart")
    for service in ("web", "mail", "mail"):
        try:
            assert agent.value(call, service) == "restarted mail"
        except psycopg.errors.InsufficientPrivilege:
            continue
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        agent.value(call, "mail")
    dba.execute("DROP FUNCTION public.restart(text)")


def test_rows_that_logical_replication_applies_need_none(server, dba, agent, table, approve):
    """They were approved where they were written. ALTER TABLE ... ENABLE ALWAYS TRIGGER asks again,
    and no subscription has an account."""
    with server.database("subscriber"):
        install(server, "subscriber")
        server.execute(TABLE.format(table=table), dbname="subscriber")
        server.execute(
            TRIGGER.format(table=table, function="require_other_approval"), dbname="subscriber"
        )
        with closing(server.connect(dbname="subscriber")) as connection:
            subscriber = Client(connection)
            dba.execute(f"CREATE PUBLICATION pub FOR TABLE {table}")
            dba.execute("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')")
            address = f"host={server.address['host']} port={server.address['port']}"
            subscriber.execute(
                f"CREATE SUBSCRIPTION sub CONNECTION '{address} user=postgres dbname=postgres'"
                " PUBLICATION pub WITH (create_slot = false)"
            )
            approve(TEN)
            insert(agent, table)
            count = f"SELECT count(*) FROM {table}"
            until(lambda: subscriber.value(count) == 1, what="the row")
            with not_allowed():
                subscriber.execute(
                    f"INSERT INTO {table} (id, amount) OVERRIDING SYSTEM VALUE VALUES (77, 10)"
                )
            subscriber.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER approved")
            approve(TEN)
            insert(agent, table)
            line = "could not determine the account of this session"
            until(lambda: line in server.log, what="a refusal in the log")
            assert subscriber.value(count) == 1
            subscriber.execute("ALTER SUBSCRIPTION sub DISABLE")
            subscriber.execute("ALTER SUBSCRIPTION sub SET (slot_name = NONE)")
            subscriber.execute("DROP SUBSCRIPTION sub")
    until(
        lambda: not dba.value("SELECT active FROM pg_replication_slots WHERE slot_name = 'sub'"),
        what="an idle slot",
    )
    dba.execute("SELECT pg_drop_replication_slot('sub'); DROP PUBLICATION pub")


CASTS = """
CREATE SCHEMA mine AUTHORIZATION app;
SET ROLE app;
CREATE TYPE mine.money AS (cents integer);
CREATE FUNCTION mine.as_json(mine.money) RETURNS json LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'running as %', current_user; END $$;
CREATE CAST (mine.money AS json) WITH FUNCTION mine.as_json(mine.money) AS IMPLICIT;
CREATE TABLE mine.transfers (id integer PRIMARY KEY, amount mine.money);
GRANT USAGE ON SCHEMA mine TO agent;
GRANT INSERT ON mine.transfers TO agent;
CREATE TRIGGER approved AFTER INSERT ON mine.transfers FOR EACH ROW
    EXECUTE FUNCTION totp.require_other_approval('pay', 'amount');
"""


def test_no_code_of_a_user_runs_with_the_rights_of_the_owner(dba, agent, approve):
    """A cast to JSON is a function of whoever made the type."""
    dba.execute(CASTS)
    dba.execute("RESET ROLE")
    statement = "INSERT INTO mine.transfers VALUES (1, ROW(5)::mine.money)"
    with not_allowed() as caught:
        agent.execute("SET ROLE NONE")
        agent.execute(statement.replace("::mine.money", ""))
    assert "running as" not in str(caught.value)
    approve({"amount": "(5)"}, "pay")
    agent.execute(statement.replace("::mine.money", ""))
    dba.execute("SET client_min_messages = warning; DROP SCHEMA mine CASCADE")


# What is shown


def test_the_summary_is_rfc_8785_as_another_program_writes_it(agent):
    """For numbers that a float holds, and text without times, canonical JSON is RFC 8785's."""
    payload = {"b": [3, 1.5, True, None, 'ü\n"€'], "a": {"z": -0.001, "é": "\u20ac", "A": 1e21}}
    summary = request(agent, payload).summary
    # The members of these objects sort alike as UTF-8 and UTF-16.
    sorted_text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert summary == f"transfer {sorted_text}"


def test_a_stolen_password_names_no_approver(connect, dba, app):
    """Whoever has the password of somebody, and an account of their own, needs the code as well."""
    dba.execute("CREATE ROLE victim LOGIN IN ROLE totp_user")
    dba.execute("ALTER ROLE victim SET totp.identity = 'role'")
    app.enrol("victim")
    thief = connect("victim")
    with refused(NOT_ALLOWED) as caught:
        request(thief, TEN, approver="other_agent")
    assert "has not been verified" in caught.value.diag.message_detail
    assert request(thief, TEN).id, "which a code of the account itself must confirm"


def test_pending_approvals_are_shown_to_both_sides_only(connect, agent, alice):
    asked = request(agent, {"note": "for your eyes"}, approver="other_agent")
    query = "SELECT count(*) FROM totp.approvals_pending WHERE id = %s"
    assert agent.value(query, asked.id) == 1
    assert connect("other_agent").value(query, asked.id) == 1
    assert connect("self_service").value(query, asked.id) == 0
    assert connect("app").value(query, asked.id) == 0


def test_approvals_are_dumped_and_restored(server, dba, agent, table, approve):
    asked = approve(TEN)
    dump = server.run("pg_dump", "postgres", "--exclude-table", "public.*")
    with server.database("restored"):
        server.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "restored", text=dump)
        with closing(server.connect(dbname="restored")) as connection:
            status = Client(connection).call("approval_status", id=asked.id)
            assert (status.state, status.summary) == ("confirmed", asked.summary)
    insert(agent, table)


# The page and the example


def test_every_sql_block_runs_and_answers_what_the_page_says(server):
    with server.database("page"):
        options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        install(server, "page")
        output = server.run("psql", *options, "--dbname", "page", text="\n".join(SQL_BLOCKS))
        assert 'transfer {"amount":12.5,"recipient":"bob"}' in output, output
        lines = output.splitlines()
        assert "t|ok" in lines and "used" in lines and "f" not in lines, output
        # The same again, by a backend.
        assert 'payout {"amount":250,"recipient":"bob"}' in lines and "t|ok|" in lines, output
        assert lines[-2:] == ["INSERT 0 1", "COMMIT"], output


def test_a_backend_acts_in_the_name_of_whoever_is_logged_in(server):
    """Alice asks, Carol approves; all of it on one connection of a pool."""
    (setup,) = [block for block in SQL_BLOCKS if "CREATE ROLE payout_backend" in block]
    with server.database("pool"):
        install(server, "pool")
        server.execute(setup.replace("payout_backend", "pool"), dbname="pool")
        with closing(server.connect("pool", "pool")) as connection:
            backend = Client(connection)
            people = {name: backend.enrol(name) for name in ("alice", "carol")}

            def ask(approver=None):
                payload = Jsonb({"recipient": "bob", "amount": 250})
                arguments = {"action": "payout", "account": "alice", "approver": approver}
                return backend.call("approval_request", payload=payload, **arguments)

            def confirm(asked, name):
                spent = people[name].backup_codes.pop()
                return backend.call("approval_confirm", id=asked.id, code=spent).verified

            def pay(account):
                with connection.transaction():
                    if account:
                        claims = json.dumps({"sub": account})
                        backend.execute("SELECT set_config('request.jwt.claims', %s, true)", claims)
                    backend.execute("INSERT INTO payouts (recipient, amount) VALUES ('bob', 250)")

            assert confirm(ask(), "alice") is True
            with not_allowed():
                pay("alice")
            asked = ask("carol")
            assert confirm(asked, "alice") is False
            assert confirm(asked, "carol") is True
            for other in "carol", None:
                with not_allowed():
                    pay(other)
            pay("alice")
            with not_allowed():
                pay("alice")
            assert backend.value("SELECT totp.current_account()") is None


def test_the_agent_of_the_example_is_refused_what_nobody_approved(server, app):
    """The script of an agent, and a person who approves in another connection."""
    with server.database("bank"):
        install(server, "bank")
        server.execute((AGENT / "schema.sql").read_text(), dbname="bank")
        with closing(server.connect("app", "bank")) as connection:
            person = Client(connection).enrol("alice")

            def run(program, *arguments, user):
                environment = {**os.environ, **server.variables}
                environment |= {"PGDATABASE": "bank", "PGUSER": user}
                return subprocess.run(
                    [sys.executable, AGENT / program, *arguments],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )

            asked = run("agent.py", "bob", "12.50", user="payments_agent")
            assert asked.returncode == 0, asked.stderr
            number = asked.stdout.split()[-1]
            approved = run("approve.py", "alice", number, person.backup_codes[0], user="app")
            assert approved.returncode == 0, approved.stderr
            assert '{"amount":12.5,"recipient":"bob"}' in approved.stdout
            changed = run("agent.py", "bob", "125.00", "--now", user="payments_agent")
            assert changed.returncode == 1 and "approval is required" in changed.stderr
            done = run("agent.py", "bob", "12.5", "--now", user="payments_agent")
            assert done.returncode == 0, done.stderr
            again = run("agent.py", "bob", "12.5", "--now", user="payments_agent")
            assert again.returncode == 1 and "approval is required" in again.stderr
        with closing(server.connect(dbname="bank")) as connection:
            rows = connection.execute("SELECT recipient, amount FROM transfers").fetchall()
            assert [tuple(row) for row in rows] == [("bob", Decimal("12.5"))]
    server.execute("DROP OWNED BY payments_agent; DROP ROLE payments_agent")
