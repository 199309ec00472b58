"""docs/application.md: its SQL runs, and what it says about drivers and tables of users is so."""

import re
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg.adapt import Loader

from client import Client
from cluster import ROOT
from conftest import DATABASE

PAGE = (ROOT / "docs" / "application.md").read_text()
SQL_BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ROW_OR_NO_ROW = {
    "totp_attempt": "SELECT 1 FROM totp.totp_attempt(%s, %s) WHERE verified",
    "totp_verify": "SELECT 1 WHERE totp.totp_verify(%s, %s)",
}


class Text(Loader):
    """Reads every value as the text that the server sends."""

    def load(self, data):
        return bytes(data).decode()


@pytest.fixture
def text_driver(cluster):
    """A driver like pg_fetch_row of PHP: it knows no types."""
    with cluster.connect("app", DATABASE) as connection:
        verdict = connection.execute("SELECT 'totp.verdict'::regtype::oid").fetchone()[0]
        for kind in (verdict, "bool", "int4"):
            connection.adapters.register_loader(kind, Text)
        yield Client(connection)


def test_every_sql_block_runs(cluster, other_database):
    blocks = ["CREATE EXTENSION totp;", "SELECT totp.key_generate();", *SQL_BLOCKS]
    options = ["--no-psqlrc", "--set=ON_ERROR_STOP=1"]
    cluster.run("psql", *options, "--dbname", other_database, text="\n".join(blocks))


@pytest.mark.parametrize("call", ["totp_verify", "totp_attempt"])
def test_a_refusal_is_true_in_a_driver_that_reads_text(text_driver, account, call):
    text_driver.enrol(account)
    answer = text_driver.value(f"SELECT totp.{call}(%s, %s)", account, "00000000")
    assert answer.lstrip("(")[0] == "f"
    assert answer, "text is true"


@pytest.mark.parametrize("form", ROW_OR_NO_ROW)
def test_a_row_or_no_row_is_right_in_a_driver_that_reads_text(text_driver, account, form):
    assert f"totp.{form}('alice', '123456')" in PAGE, "the page shows another form"
    enrolled = Client(text_driver.connection)
    created = enrolled.create(account)
    code = "SELECT totp.totp_code(%s, clock_timestamp() + %s * interval '30 s')"
    enrolled.confirm(account, enrolled.value(code, created.secret, 0))
    right = enrolled.value(code, created.secret, 1)
    for wrong in ("00000000", "", None):
        assert text_driver.rows(ROW_OR_NO_ROW[form], account, wrong) == []
    assert int(text_driver.status(account).failures) == 1
    assert len(text_driver.rows(ROW_OR_NO_ROW[form], account, right)) == 1
    assert text_driver.rows(ROW_OR_NO_ROW[form], account, right) == []
    assert text_driver.rows(ROW_OR_NO_ROW[form], f"{account}-unknown", right) == []


@pytest.mark.parametrize("form", ROW_OR_NO_ROW)
def test_a_row_or_no_row_is_right_in_a_shell(cluster, app, account, form):
    person = app.enrol(account)
    statement = ROW_OR_NO_ROW[form].replace("%s, %s", ":'account', :'code'")

    def answer(code):
        variables = [f"--set=account={account}", f"--set=code={code}"]
        options = ["--no-psqlrc", "--no-align", "--tuples-only", "--dbname", DATABASE]
        return cluster.run("psql", *options, *variables, text=statement).strip()

    assert answer("00000000") == ""
    assert answer(person.phone.take(app.now)) == "1"


def test_a_key_from_the_table_finds_the_account_that_typed_text_misses(dba, account):
    dba.execute("CREATE EXTENSION IF NOT EXISTS citext")
    with dba.connection.transaction(force_rollback=True):
        dba.execute("CREATE TABLE people (login citext PRIMARY KEY)")
        dba.execute("INSERT INTO people VALUES (%s)", account)
        dba.enrol(account)
        typed = account.upper()
        found = "SELECT login FROM people WHERE login = %s"
        assert dba.is_enabled(dba.value(found, typed))
        assert not dba.is_enabled(typed)


@pytest.mark.parametrize("kind", ["bigint", "uuid"])
def test_a_key_that_is_no_text_needs_a_cast(dba, kind):
    with pytest.raises(psycopg.errors.UndefinedFunction):
        dba.value(f"SELECT totp.totp_enabled(NULL::{kind})")
    key = "1" if kind == "bigint" else "7f9c2ba4-e88f-427d-a6d5-1f0e5b2a7c3d"
    assert dba.value(f"SELECT totp.totp_enabled('{key}'::{kind}::text)") is False


def test_a_move_to_another_partition_is_a_delete(dba, account):
    with dba.connection.transaction(force_rollback=True):
        dba.execute("CREATE TABLE people (key text, tenant int) PARTITION BY LIST (tenant)")
        for tenant in (1, 2):
            dba.execute(f"CREATE TABLE p{tenant} PARTITION OF people FOR VALUES IN ({tenant})")
        dba.execute(
            "CREATE TRIGGER forget AFTER DELETE ON people FOR EACH ROW"
            " EXECUTE FUNCTION totp.forget_account('key')"
        )
        dba.enrol(account)
        dba.execute("INSERT INTO people VALUES (%s, 1)", account)
        dba.execute("UPDATE people SET tenant = 2")
        assert not dba.is_enabled(account)


def test_the_app_shows_the_account_name(app, account):
    def shown(**options):
        uri = app.create(account, issuer="Acme", **options).uri
        return unquote(urlsplit(uri).path).lstrip("/")

    assert shown() == shown(label="tablet") == f"Acme:{account}"
    assert shown(account_name="alice (tablet)") == "Acme:alice (tablet)"
