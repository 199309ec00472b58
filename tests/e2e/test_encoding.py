"""Databases whose encoding is not UTF-8: the whole job, or a plain error. Never a crash."""

import secrets

import psycopg
import pytest
from psycopg import sql

from client import Client
from conftest import install


@pytest.fixture(params=["LATIN1", "SQL_ASCII", "EUC_JP"])
def encoding(request):
    return request.param


@pytest.fixture
def client(cluster, encoding):
    """A superuser in a database of the encoding, talking UTF-8."""
    name = f"encoded_{secrets.token_hex(4)}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    cluster.execute(sql.SQL(create).format(sql.Identifier(name), encoding))
    install(cluster, name)
    with cluster.connect(dbname=name, client_encoding="UTF8") as connection:
        yield Client(connection)
    cluster.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def whole_job(client, account):
    person = client.enrol(account, issuer="Acme", account_name="alice")
    code = person.phone.take(client.now)
    assert client.verify(account, code) is True
    assert client.verify(account, code) is False
    assert client.backup_verify(account, person.backup_codes[0]) is True
    assert client.attempt(account, person.backup_codes[1]).account == account
    assert client.disable(account, person.backup_codes[2]) is True


def test_an_ascii_account_does_the_whole_job(client, account):
    whole_job(client, account)


def test_an_account_with_an_umlaut_does_the_whole_job_or_is_an_error(client, account):
    account += "-ü"
    try:
        whole_job(client, account)
    except psycopg.Error as error:
        # Untranslatable, or malformed: PostgreSQL's own words for it, or ours.
        assert error.sqlstate in ("22P05", "22021", "22023"), error
    assert client.value("SELECT 1") == 1
    whole_job(client, f"{account[:-1]}u")


@pytest.mark.parametrize("code", ["１２３４５６", "ü23456", "\\xff"], ids=ascii)
def test_a_code_that_is_not_ascii_is_no_code_or_an_error(client, account, code):
    person = client.enrol(account, account_name="alice")
    try:
        assert client.verify(account, code) is False
    except psycopg.Error as error:
        assert error.sqlstate in ("22P05", "22021"), error
    assert client.status(account).failures == 0
    assert client.verify(account, person.phone.take(client.now)) is True


@pytest.mark.parametrize("encoding", ["SQL_ASCII"])
def test_bytes_that_are_no_text_are_refused_or_kept(client, account):
    # Such a database takes any bytes for text.
    for function, rest in (("totp_create", ""), ("totp_verify", ", '123456'")):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(rf"SELECT totp.{function}(E'a\xff\xfe'{rest})")
        assert caught.value.sqlstate in ("22021", "22023"), caught.value
    client.enrol(account, account_name="alice")
    assert client.value(rf"SELECT totp.totp_verify('{account}', E'12345\xff')") is False


def test_the_pictures_are_drawn_or_refused(client):
    assert client.value("SELECT totp.qr_svg('data')").startswith("<svg")
    try:
        assert "█" in client.value("SELECT totp.qr_text('data')")
    except psycopg.Error as error:
        assert error.sqlstate in ("22P05", "22021"), error
