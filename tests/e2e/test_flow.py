"""docs/flow.md, the two-step login: its SQL runs as written, and its diagram is up to date."""

import hashlib
import re

import jwt
import psycopg
import pytest

from authenticator import Authenticator
from client import Client
from cluster import ROOT, Cluster
from conftest import install
from jwt_secret import JwtSecret
from refusal import denied

DOCS = ROOT / "docs"
PAGE = (DOCS / "flow.md").read_text()
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(DIAGRAM,) = re.findall(r"^```mermaid\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PGCRYPTO = "CREATE EXTENSION IF NOT EXISTS pgcrypto;\n"
# For servers that come without contrib. Good for nothing but this test.
STAND_IN = """
CREATE FUNCTION public.gen_salt(text, integer) RETURNS text RETURN repeat('s', 29);
CREATE FUNCTION public.crypt(text, text) RETURNS text
    RETURN left($2, 29) || md5($1 || left($2, 29));
"""


@pytest.fixture(scope="module")
def server():
    """A server after the page's SQL was pasted, what that printed, and its secret."""
    with Cluster() as cluster, JwtSecret(cluster) as secret:
        install(cluster, "postgres")
        has_pgcrypto = "SELECT FROM pg_available_extensions WHERE name = 'pgcrypto'"
        script = "".join(SQL_BLOCKS)
        assert PGCRYPTO in script
        with cluster.connect() as connection:
            if not connection.execute(has_pgcrypto).fetchall():
                script = script.replace(PGCRYPTO, STAND_IN)
        options = ["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        cluster.output = cluster.run("psql", *options, "--dbname", "postgres", text=script)
        cluster.secret = secret
        yield cluster


@pytest.fixture
def backend(server):
    with server.connect("backend") as connection:
        yield Client(connection)


@pytest.fixture
def dba(server):
    with server.connect() as connection:
        yield Client(connection)


@pytest.fixture
def alice(dba):
    return dba.value("SELECT id::text FROM auth.users WHERE login = 'alice'")


def log_in(client, login, password, browser="cookie"):
    return client.value("SELECT auth.login(%s, %s, %s)", login, password, browser)


def answer(client, challenge, code, browser="cookie"):
    return client.value("SELECT auth.answer(%s, %s, %s)", challenge, code, browser)


def claims(server, token):
    return jwt.decode(token, server.secret.text, algorithms=["HS256"])


def test_the_page_answers_what_it_says(server):
    lines = server.output.splitlines()
    assert [line for line in lines if line in ("t", "f", "spent")] == ["t", "t", "spent", "t"]


def test_the_backend_logs_in_with_a_code_and_with_a_backup_code(server, backend, dba, alice):
    phone = Authenticator(dba.create(alice).uri)
    codes = dba.call("backup_reissue", account=alice, reason="a test")[0]
    assert dba.confirm(alice, phone.take(dba.now)).confirmed
    for code in (phone.take(dba.now), codes[0]):
        challenge = log_in(backend, "alice", "correct horse")["challenge"]
        found = claims(server, answer(backend, challenge, code)["token"])
        assert (found["sub"], found["aal"], found["role"]) == (alice, "aal2", "authenticated")


@pytest.mark.parametrize(
    ("login", "password"),
    [
        *(("alice", "wrong"), ("alice", ""), ("alice", None), ("Alice", "correct horse")),
        *(("nobody", "correct horse"), ("nobody", None), (None, None), ("", "")),
    ],
)
def test_a_wrong_password_gives_nothing(backend, login, password):
    assert log_in(backend, login, password) == {"error": "name or password is wrong"}


def test_another_browser_or_a_wrong_code_gives_no_token(backend, dba, alice):
    codes = dba.call("backup_reissue", account=alice, reason="a test")[0]
    challenge = log_in(backend, "alice", "correct horse")["challenge"]
    assert answer(backend, challenge, codes[0], "other")["error"] == "refused"
    assert answer(backend, challenge, codes[0], None)["error"] == "refused"
    assert answer(backend, challenge, "0000-0000-0000-0000")["error"] == "invalid"
    assert answer(backend, None, codes[0])["error"] == "refused"
    assert "token" in answer(backend, challenge, codes[0])
    assert answer(backend, challenge, codes[1])["error"] == "spent"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM auth.users",
        "SELECT totp.jwt_sign('{}')",
        "SELECT totp.totp_verify('alice', '123456')",
        "SELECT totp.challenge_create('alice')",
        "SET ROLE login_service",
        "CREATE TABLE auth.mine ()",
    ],
)
def test_the_backend_may_do_nothing_else(backend, statement):
    with denied():
        backend.execute(statement)


def test_nobody_else_may_log_anybody_in(server, dba):
    dba.execute("CREATE ROLE visitor LOGIN")
    with server.connect("visitor") as connection:
        for call in ("login('alice', 'correct horse', '')", "answer('x', '123456', '')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT auth.{call}")


def test_the_pdf_was_rendered_from_the_diagram():
    """`make docs` leaves the SHA-256 of the diagram beside the PDF."""
    assert (DOCS / "flow.pdf").read_bytes().startswith(b"%PDF-")
    rendered = (DOCS / "flow.pdf.sha256").read_text().strip()
    assert rendered == hashlib.sha256(DIAGRAM.encode()).hexdigest(), "run make docs"


def test_the_svg_shows_every_call_of_the_diagram():
    picture = (DOCS / "flow.svg").read_text()
    assert picture.startswith("<svg ")
    calls = re.findall(r"totp: (?:\d\. )?(\w+)\(", DIAGRAM)
    assert calls and all(f"{call}(" in picture for call in calls)


def test_the_diagram_has_the_steps_of_the_page():
    assert re.findall(r": (\d)\. ", DIAGRAM) == ["1", "2", "3", "4", "5", "6"]
    participants = re.findall(r"^ *participant (\w+)", DIAGRAM, re.MULTILINE)
    assert participants == ["client", "backend", "users", "totp"]
    (requests,) = [block for block in SQL_BLOCKS if "CREATE FUNCTION auth.login" in block]
    calls = re.findall(r">>totp: (?:\d\. )?(\w+)\(", DIAGRAM)
    assert set(calls) == set(re.findall(r"\btotp\.(\w+)\(", requests))
