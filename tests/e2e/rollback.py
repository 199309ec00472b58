"""The ways in which what a function wrote is undone: by its caller, or by what happens to the
session."""

import os
import socket
from contextlib import closing, suppress
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from client import Client
from cluster import until

SWALLOW = """
DO $$
BEGIN
    PERFORM {call};
    RAISE EXCEPTION 'undo';
EXCEPTION WHEN raise_exception THEN
END
$$
"""


class Stage:
    """Sessions of one cluster with their own settings and clock, and one session that watches."""

    def __init__(self, cluster, dbname, moment, **settings):
        self.moment = moment
        settings["totp.clock"] = datetime.fromtimestamp(moment, UTC).isoformat()
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self.connect = lambda: cluster.connect(dbname=dbname, options=options)
        self.watcher = self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watcher.close()

    @property
    def client(self):
        return Client(self.watcher)

    def undo(self, way, call):
        """Makes a call and undoes it. Returns what the caller saw of its result, if anything."""
        connection = self.connect()
        pid = connection.info.backend_pid
        with closing(connection):
            result = way(self, connection, call)
        # The outcome of the transaction is settled when the server process is gone.
        until(lambda: not self.is_there(pid), what="end of the session", pause=0.001)
        return result

    def is_there(self, pid):
        return self.client.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid)

    def wait_for_sleep(self, pid):
        """Waits until a server process sleeps: what comes before pg_sleep has happened by then."""
        query = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        until(lambda: self.client.value(query, pid), what="sleep", pause=0.001)


def send(connection, call, before=0, after=60):
    """Starts a call between two sleeps, in seconds, and does not wait for its end."""
    statement = sql.SQL("SELECT {}, pg_sleep({}) FROM pg_sleep({})").format(call, after, before)
    connection.pgconn.send_query(statement.as_bytes(connection))
    connection.pgconn.flush()


def finish(connection):
    """Reads the end of what was sent: the value of the call, or None when there was an error."""
    value = None
    while result := connection.pgconn.get_result():
        if result.status == psycopg.pq.ExecStatus.TUPLES_OK:
            value = result.get_value(0, 0).decode()
    return value


def value_of(connection, call):
    return connection.execute(sql.SQL("SELECT {}").format(call)).fetchone()[0]


def rollback(_, connection, call):
    connection.execute("BEGIN")
    value = value_of(connection, call)
    connection.execute("ROLLBACK")
    return value


def savepoint(_, connection, call):
    connection.execute("BEGIN; SAVEPOINT mark")
    value = value_of(connection, call)
    connection.execute("ROLLBACK TO mark; COMMIT")
    return value


def outer_savepoint(_, connection, call):
    connection.execute("BEGIN; SAVEPOINT outer_mark; SAVEPOINT mark")
    value = value_of(connection, call)
    connection.execute("RELEASE mark; ROLLBACK TO outer_mark; COMMIT")
    return value


def exception_block(_, connection, call):
    connection.execute(sql.SQL(SWALLOW).format(call=call))


def later_error(_, connection, call):
    connection.execute("BEGIN")
    value = value_of(connection, call)
    with suppress(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    connection.execute("COMMIT")
    return value


def failed_commit(_, connection, call):
    connection.execute("CREATE TEMP TABLE once (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    connection.execute("BEGIN")
    value = value_of(connection, call)
    connection.execute("INSERT INTO once VALUES (1), (1)")
    with suppress(psycopg.errors.UniqueViolation):
        connection.execute("COMMIT")
    return value


def disconnect(_, connection, call):
    connection.execute("BEGIN")
    value = value_of(connection, call)
    pull_the_plug(connection)
    return value


def statement_timeout(_, connection, call):
    connection.execute("SET statement_timeout = '100ms'")
    send(connection, call)
    return finish(connection)


def cancel(stage, connection, call):
    send(connection, call)
    stage.wait_for_sleep(connection.info.backend_pid)
    stage.client.execute("SELECT pg_cancel_backend(%s)", connection.info.backend_pid)
    return finish(connection)


def terminate(stage, connection, call):
    send(connection, call)
    stage.wait_for_sleep(connection.info.backend_pid)
    stage.client.execute("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
    return finish(connection)


def pull_the_plug(connection):
    """The client disappears without closing its connection."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
    connection.close()


WAYS = [
    rollback,
    savepoint,
    outer_savepoint,
    exception_block,
    later_error,
    failed_commit,
    disconnect,
    statement_timeout,
    cancel,
    terminate,
]
