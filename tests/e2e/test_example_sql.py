"""The examples in SQL alone: PostgREST without a backend, and an approval by trigger in psql."""

import secrets
import time

import psycopg
import pytest

from authenticator import Authenticator
from client import Client
from cluster import ROOT
from conftest import DATABASE, install
from test_flow import PGCRYPTO, STAND_IN
from web import Web

pytestmark = pytest.mark.once

EXAMPLES = ROOT / "examples"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def web():
    """A cluster behind PostgREST, with the schema of the example."""
    with Web() as web:
        script = (EXAMPLES / "postgrest-only/schema.sql").read_text()
        assert PGCRYPTO in script
        with web.connect(dbname=DATABASE) as connection:
            known = "SELECT FROM pg_available_extensions WHERE name = 'pgcrypto'"
            if not connection.execute(known).fetchall():
                script = script.replace(PGCRYPTO, STAND_IN)
            connection.execute(script)
        yield web


@pytest.fixture(scope="module")
def server(web):
    """PostgREST. A request is for schema api unless it names another."""
    return web.server(profile=None)


def totp_api(server, function, body, token=None):
    server.profile = "totp_api"
    try:
        return server.post(function, body, token)
    finally:
        server.profile = None


@pytest.fixture
def email(server):
    email = f"alice-{secrets.token_hex(4)}@example.com"
    assert server.post("signup", {"email": email, "password": PASSWORD}).status == 204
    return email


def log_in(server, email, password=PASSWORD):
    return server.post("login", {"email": email, "password": password, "binding": "page 7"})


def test_a_login_without_a_backend(server, email):
    assert log_in(server, email, "wrong password").status == 401
    assert log_in(server, "nobody@example.com").status == 401
    token = log_in(server, email).body["access_token"]
    phone = Authenticator(totp_api(server, "totp_create", {}, token).body["uri"])
    code = phone.take(time.time())
    assert totp_api(server, "totp_confirm", {"code": code}, token).body["confirmed"]
    answer = log_in(server, email).body
    assert answer["access_token"] is None, "the password alone is not enough"
    guess = {"token": answer["challenge"], "code": phone.wrong(time.time()), "binding": "page 7"}
    assert totp_api(server, "challenge_verify", guess).body["verified"] is False
    right = {**guess, "code": phone.take(time.time())}
    stolen = {**right, "binding": "another page"}
    assert totp_api(server, "challenge_verify", stolen).body["verified"] is False
    verdict = totp_api(server, "challenge_verify", right).body
    assert verdict["verified"] and server.read("notes", verdict["access_token"]).status == 200


def test_notes_are_hidden_before_the_second_factor_and_from_others(web, server, email):
    token = log_in(server, email).body["access_token"]
    insert = "INSERT INTO api.notes (owner, body) SELECT id, 'of ' || email FROM users"
    web.execute(insert, dbname=DATABASE)
    assert server.read("notes", token).body == []
    phone = Authenticator(totp_api(server, "totp_create", {}, token).body["uri"])
    code = phone.take(time.time())
    assert totp_api(server, "totp_confirm", {"code": code}, token).body["confirmed"]
    assert [note["body"] for note in server.read("notes", token).body] == [f"of {email}"]


@pytest.fixture
def bank(cluster):
    """A database with the transfers; clients for the clerk and the supervisor."""
    with cluster.database("bank"):
        install(cluster, "bank")
        cluster.execute((EXAMPLES / "sql-only/schema.sql").read_text(), dbname="bank")
        with (
            cluster.connect("clerk", "bank") as clerk,
            cluster.connect("supervisor", "bank") as supervisor,
        ):
            yield Client(clerk), Client(supervisor)
    cluster.execute("DROP ROLE clerk, supervisor")


def test_a_transfer_is_made_once_the_supervisor_approves_exactly_it(bank):
    clerk, supervisor = bank
    phone = Authenticator(supervisor.call("totp_create", "totp_api").uri)
    code = phone.take(supervisor.now)
    assert supervisor.call("totp_confirm", "totp_api", code=code).confirmed
    transfer = "INSERT INTO transfers (recipient, amount) VALUES (%s, %s)"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        clerk.execute(transfer, "bob", 12.50)
    request = "SELECT * FROM totp_api.approval_request('transfer', %s, 'supervisor')"
    asked = clerk.row(request, '{"recipient": "bob", "amount": 12.50}')
    (pending,) = supervisor.rows("SELECT id, summary FROM totp_api.approvals_pending()")
    assert pending.id == asked.id and "bob" in pending.summary and "12.5" in pending.summary
    code = phone.take(supervisor.now)
    assert supervisor.call("approval_confirm", "totp_api", id=asked.id, code=code).verified
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        clerk.execute(transfer, "bob", 1250)
    clerk.execute(transfer, "bob", 12.50)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        clerk.execute(transfer, "bob", 12.50)
    assert clerk.rows("SELECT amount, made_by FROM transfers") == [(12.50, "clerk")]
