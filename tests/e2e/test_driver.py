"""Drivers of other languages and protocols do the whole job, with bind parameters."""

import asyncio
import json
import os
import subprocess

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from authenticator import Authenticator
from client import Client
from cluster import ROOT
from conftest import DATABASE

NODE = ROOT / "tests" / "e2e" / "node"


def run(cluster, *command):
    """Runs a client program as role `app`; what it prints, when it succeeds."""
    environment = {**os.environ, **cluster.variables, "PGUSER": "app", "PGDATABASE": DATABASE}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_node_postgres_does_the_whole_job(cluster, account):
    output = run(cluster, "node", NODE / "job.mjs", f"{account}-ü")
    assert json.loads(output) == {"verified": True, "locked": "locked"}


def whole_job(client, account):
    person = client.enrol(account)
    code = person.phone.take(client.now)
    assert client.verify(account, code) is True
    assert client.verify(account, code) is False
    verdict = client.attempt(account, person.backup_codes[0])
    assert (verdict.verified, verdict.method, verdict.backup_codes_left) == (True, "backup", 9)
    assert client.fail(person, 5).retry_after.total_seconds() > 0
    assert client.attempt(account, person.backup_codes[1]).reason == "locked"
    assert client.status(account).locked_until.tzinfo is not None


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("threshold", [None, 0], ids=["unprepared", "prepared"])
def test_psycopg_does_the_whole_job(cluster, account, binary, threshold):
    with cluster.connect("app", DATABASE) as connection:
        connection.prepare_threshold = threshold
        connection.cursor_factory = BinaryCursor if binary else psycopg.Cursor
        whole_job(Client(connection), account)


class BinaryCursor(psycopg.Cursor):
    """Asks for results in binary."""

    def execute(self, query, params=None, *, prepare=None, binary=None):
        return super().execute(query, params, prepare=prepare, binary=True)


@pytest.mark.parametrize("cursor", [psycopg.ClientCursor, psycopg.RawCursor])
def test_every_kind_of_psycopg_cursor_verifies(cluster, app, account, cursor):
    person = app.enrol(account)
    with cluster.connect("app", DATABASE, cursor_factory=cursor) as connection:
        placeholders = "$1, $2" if cursor is psycopg.RawCursor else "%s, %s"
        query = f"SELECT totp.totp_verify({placeholders})"
        arguments = [account, person.phone.take(app.now)]
        assert connection.execute(query, arguments).fetchone() == (True,)
        assert connection.execute(query, arguments).fetchone() == (False,)


def test_a_pipeline_of_calls_answers_each(cluster, app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    with cluster.connect("app", DATABASE) as connection, connection.pipeline():
        query = "SELECT totp.totp_verify(%s, %s)"
        cursors = [connection.execute(query, [account, value]) for value in ("", code, code)]
        assert [cursor.fetchone()[0] for cursor in cursors] == [False, True, False]


def test_asynchronous_psycopg_does_the_main_job(cluster, account):
    async def job():
        address = {**cluster.address, "user": "app", "dbname": DATABASE}
        async with await psycopg.AsyncConnection.connect(
            **address, autocommit=True, row_factory=namedtuple_row
        ) as connection:
            create = await connection.execute("SELECT * FROM totp.totp_create(%s)", [account])
            phone = Authenticator((await create.fetchone()).uri)
            parameters = {"a": account, "c": phone.take(Client(None).now)}
            query = "SELECT * FROM totp.totp_confirm(account => %(a)s, code => %(c)s)"
            confirm = await connection.execute(query, parameters)
            return await confirm.fetchone()

    assert asyncio.run(job()).confirmed


def test_account_columns_of_other_types_are_cast_by_the_caller(app):
    # An integer or a uuid is no text: PostgreSQL says so, and a cast makes it one.
    with pytest.raises(psycopg.errors.UndefinedFunction):
        app.execute("SELECT totp.totp_enabled(42)")
    assert app.value("SELECT totp.totp_enabled(42::text)") is False
    assert app.value("SELECT totp.totp_enabled(gen_random_uuid()::text)") is False


def test_varchar_and_domain_accounts_need_no_cast(dba, account):
    dba.enrol(account)
    assert dba.value("SELECT totp.totp_enabled(%s::varchar(100))", account) is True
    dba.execute("CREATE DOMAIN pg_temp.login AS text")
    assert dba.value("SELECT totp.totp_enabled(%s::pg_temp.login)", account) is True
