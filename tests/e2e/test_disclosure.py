"""Whatever is in the schemas shows no secret to a role that need not see it.

The catalog says what there is: a new view or function is looked at without a change here. A new one
that has to show a secret to somebody is added to MAY_SHOW.
"""

import json
import re

import psycopg
import pyotp
import pytest

from client import Client
from conftest import DATABASE, install, new_account
from key_file import KeyFile
from leak import backup_code_forms, forms, secret_forms
from model import App

SCHEMAS = ["totp", "totp_api"]
ROLES = ["stranger", "app", "self_service", "administrator", "auditor"]
MAY_SHOW = {
    "app": {"totp.totp_create", "totp.totp_confirm", "totp.backup_rotate"},
    "administrator": {"totp.totp_export", "totp.backup_reissue", "totp.pass_issue"},
}
SHOWN_BACKUP_CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}")
# What the caller has anyway: no secret of an account.
OWN_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

RELATIONS = """
SELECT oid::regclass::text AS name FROM pg_class
WHERE relnamespace::regnamespace::text = ANY (%s) AND relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
ORDER BY 1
"""
FUNCTIONS = """
SELECT pronamespace::regnamespace || '.' || proname AS name, prokind = 'p' AS is_procedure,
    has_function_privilege('stranger', oid, 'EXECUTE') AS is_public,
    coalesce(proargnames[1 : pronargs], '{}') AS names,
    ARRAY(SELECT format_type(type, NULL) FROM unnest(proargtypes) AS type) AS types,
    pronargs - pronargdefaults AS required
FROM pg_proc
WHERE pronamespace::regnamespace::text = ANY (%s) AND prorettype <> 'trigger'::regtype
AND has_function_privilege(%s, oid, 'EXECUTE')
ORDER BY 2
"""


class Victim:
    """An account with an active app and another one that waits to replace it, and backup codes
    unless it is to get its first ones."""

    def __init__(self, dba, has_backup_codes=True):
        self.dba = dba
        self.account = new_account()
        self.app = App(pyotp.random_base32(), "SHA1", 8, 120)
        uri = f"otpauth://totp/x?secret={self.app.secret}&digits=8&period=120"
        dba.call("totp_import", account=self.account, uri=uri, reason="a test")
        self.backup_codes = []
        if has_backup_codes:
            reissue = {"account": self.account, "reason": "a test"}
            self.backup_codes = dba.call("backup_reissue", **reissue)[0]
        created = dba.create(self.account, digits=8, period=120)
        self.pending = App(created.secret, "SHA1", 8, 120)
        self.step = self.app.step(int(dba.value("SELECT extract(epoch FROM clock_timestamp())")))

    def code(self, kind):
        """What its owner could type, or a guess."""
        match kind:
            case "active":
                return self.app.code(self.step)
            case "pending":
                return self.pending.code(self.step)
            case "backup":
                return self.backup_codes[0]
        return "00000000"

    def needles(self, typed):
        """All that nobody may see, in all its forms."""
        found = set()
        for app in (self.app, self.pending):
            found |= secret_forms(app.secret)
            codes = {app.code(self.step + near).encode() for near in (-1, 0, 1)}
            found |= codes - {typed.encode()}
        for code in self.backup_codes:
            if code != typed:
                found |= backup_code_forms(code)
        return found

    def stored(self, keys):
        """What is stored of it now: ciphertexts, salts, and what is in the ciphertexts."""
        found = set()
        for table, salt in (("factors", "NULL::bytea"), ("backup_codes", "salt")):
            query = f"SELECT sealed, {salt} AS salt FROM totp.{table} WHERE account = %s"
            for row in self.dba.rows(query, self.account):
                found |= {row.sealed.encode()} | (forms(bytes(row.salt)) if row.salt else set())
                found |= secret_forms(json.loads(keys.decrypt(row.sealed))["secret"])
        return {needle for needle in found if len(needle) > 8}


class Observer:
    """A role that looks at all it can, in one database."""

    def __init__(self, cluster, role, dbname):
        self.dba = Client(cluster.connect(dbname=dbname))
        self.connection = cluster.connect(role, dbname)
        self.role = role
        self.keys = KeyFile(cluster).primary
        self.notices = []
        self.connection.add_notice_handler(self.hear)

    def close(self):
        self.dba.connection.close()
        self.connection.close()

    def hear(self, notice):
        self.notices += [notice.message_primary, notice.message_detail, notice.message_hint]

    def see(self, query, arguments=()):
        """All that a statement tells: rows, notices, or its error."""
        self.notices.clear()
        try:
            cursor = self.connection.execute(query, arguments)
            shown = str(cursor.fetchall()) if cursor.description else ""
        except psycopg.Error as error:
            diagnosis = error.diag
            details = [diagnosis.message_detail, diagnosis.message_hint, diagnosis.context]
            shown = f"{error} {details}"
        return f"{shown} {self.notices}"

    def relations_that_disclose(self):
        victim = Victim(self.dba)
        needles = victim.needles("") | victim.stored(self.keys)
        names = [row.name for row in self.dba.rows(RELATIONS, SCHEMAS)]
        queries = {name: f"SELECT t::text FROM {name} AS t" for name in names}
        queries["pg_stats"] = "SELECT t::text FROM pg_stats AS t WHERE schemaname LIKE 'totp%'"
        self.dba.execute("ANALYZE totp.factors, totp.backup_codes")
        return {name for name, query in queries.items() if discloses(self.see(query), needles)}

    def functions_that_disclose(self):
        disclosing = set()
        for function in self.dba.rows(FUNCTIONS, SCHEMAS, self.role):
            for kind in ("active", "pending", "backup", "guess"):
                if self.shows_a_secret(function, kind):
                    disclosing.add(function.name)
        return disclosing

    def shows_a_secret(self, function, kind):
        victim = Victim(self.dba, has_backup_codes=kind != "pending")
        code = victim.code(kind)
        needles = victim.needles(code) | victim.stored(self.keys)
        shown = self.see(*call_of(function, victim, code))
        needles |= victim.stored(self.keys)
        is_new_code = SHOWN_BACKUP_CODE.search(shown.replace(code, ""))
        is_picture = "<svg" in shown and not function.is_public
        return discloses(shown, needles) or bool(is_new_code or is_picture)


def discloses(shown, needles):
    return any(needle in shown.encode() for needle in needles)


def call_of(function, victim, code):
    """A statement that calls a function with what its arguments' names and types ask for."""
    values = {
        "account": victim.account,
        "new_account": f"{victim.account}-new",
        "code": code,
        "code1": code,
        "code2": victim.app.code(victim.step + 1),
        "label": "default",
        "secret": OWN_SECRET,
        "uri": OWN_SECRET,
        "reason": "a test",
    }
    by_type = {"integer": 1, "bigint": 1, "boolean": True, "jsonb": "{}", "interval": "1 min"}
    by_type |= {"timestamp with time zone": "2030-01-01"}
    arguments = [
        values.get(name, by_type.get(kind, "x"))
        for name, kind in zip(function.names, function.types, strict=True)
    ][: function.required]
    places = ", ".join(f"%s::{kind}" for kind in function.types[: len(arguments)])
    call = f"{function.name}({places})"
    statement = f"CALL {call}" if function.is_procedure else f"SELECT t::text FROM {call} AS t"
    return statement, arguments


@pytest.fixture
def observe(cluster):
    """A function that lets a role look."""
    observers = []

    def start(role, dbname=DATABASE):
        observers.append(Observer(cluster, role, dbname))
        return observers[-1]

    yield start
    for observer in observers:
        observer.close()


@pytest.mark.parametrize("role", ROLES)
def test_no_table_view_or_sequence_shows_a_secret(observe, role):
    assert observe(role).relations_that_disclose() == set()


@pytest.mark.parametrize("role", ROLES)
def test_only_functions_that_must_show_a_secret_do(observe, role):
    assert observe(role).functions_that_disclose() == MAY_SHOW.get(role, set())


LEAKS = """
CREATE VIEW totp.leak AS SELECT account, key_id, sealed FROM totp.factors;
CREATE VIEW totp.salty_leak AS SELECT account, json_agg(salt) FROM totp.backup_codes GROUP BY 1;
GRANT SELECT ON totp.leak, totp.salty_leak TO totp_auditor;
CREATE FUNCTION totp.leak_by_result(account text) RETURNS text SECURITY DEFINER
    RETURN (SELECT max(sealed) FROM totp.factors AS f WHERE f.account = leak_by_result.account);
CREATE FUNCTION totp.leak_by_error(account text, number integer) RETURNS text SECURITY DEFINER
    LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', totp.leak_by_result(account); END $$;
CREATE FUNCTION totp.leak_by_notice(account text) RETURNS text SECURITY DEFINER
    LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', totp.leak_by_result(account); RETURN ''; END $$;
CREATE PROCEDURE totp.leak_by_call(account text) SECURITY DEFINER
    LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', totp.leak_by_result(account); END $$;
CREATE FUNCTION totp.leak_codes(account text) RETURNS text[] SECURITY DEFINER
    RETURN totp.backup_reissue(account, 'a test');
"""


def test_what_discloses_is_found(cluster, observe, other_database):
    install(cluster, other_database)
    cluster.execute(LEAKS, dbname=other_database)
    auditor = observe("auditor", other_database)
    assert auditor.relations_that_disclose() == {"totp.leak", "totp.salty_leak"}
    names = ["result", "error", "notice", "call"]
    expected = {"totp.leak_codes", *(f"totp.leak_by_{name}" for name in names)}
    assert auditor.functions_that_disclose() == expected
    assert observe("postgres", other_database).relations_that_disclose() >= {
        "totp.factors",
        "totp.backup_codes",
    }
