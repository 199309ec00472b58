"""The statements that totp.help() prints do the whole job, as an application would run them."""

import re

from authenticator import Authenticator
from client import Client


def test_help_names_the_version_that_is_installed(stranger, dba):
    text = stranger.value("SELECT totp.help()")
    version = dba.value("SELECT extversion FROM pg_extension WHERE extname = 'totp'")
    assert text.startswith(f"totp {version}: ")
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_five_statements_do_the_whole_job(app, account):
    text = app.value("SELECT totp.help()")
    statements = re.findall(r"^ {3}(SELECT .*);$", text, re.MULTILINE)
    create, confirm, enabled, verify, backup = (
        re.sub(r"\$\d", "%s", statement) for statement in statements
    )
    (created,) = app.rows(create, account)
    phone = Authenticator(created.uri)
    (confirmed,) = app.rows(confirm, account, phone.take(app.now))
    assert confirmed.confirmed
    assert app.value(enabled, account)
    code = phone.take(app.now)
    assert app.value(verify, account, code)
    assert not app.value(verify, account, code)
    assert app.value(backup, account, confirmed.backup_codes[0])


def test_the_form_for_drivers_that_read_text_gives_a_row_or_none(app, account):
    (form,) = re.findall(r"SELECT 1 WHERE .*?\$2\)", app.value("SELECT totp.help()"))
    statement = re.sub(r"\$\d", "%s", form)
    phone = app.enrol(account).phone
    assert app.rows(statement, account, "000000") == []
    assert len(app.rows(statement, account, phone.take(app.now))) == 1


def test_the_other_statements_run(cluster, other_database):
    with cluster.connect(dbname=other_database) as connection:
        dba = Client(connection)
        dba.execute("CREATE EXTENSION totp")
        text = dba.value("SELECT totp.help()")
        statements = re.findall(r"^((?:SELECT|GRANT) [^;]*);", text, re.MULTILINE)
        assert len(statements) == 3
        with connection.transaction(force_rollback=True):
            dba.execute("CREATE ROLE your_backend_role")
            for statement in statements:
                dba.execute(statement)


def test_psql_lists_every_function_by_its_name(cluster, dba):
    """A table of contents: no argument of a function that people call is without a name."""
    nameless = dba.rows("""
        SELECT p.oid::regprocedure FROM pg_proc AS p, unnest(proargnames[1:pronargs]) AS argument
        WHERE pronamespace = 'totp'::regnamespace AND argument = ''
        UNION
        SELECT p.oid::regprocedure FROM pg_proc AS p
        WHERE pronamespace = 'totp'::regnamespace AND pronargs > 0 AND proargnames IS NULL
    """)
    assert nameless == []
