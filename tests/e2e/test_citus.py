"""Citus creates the extension on each of its nodes: only the coordinator answers for accounts, and
only while Citus leaves the tables alone. The two catalogs are made here as Citus makes them."""

from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import function as functions
from client import Client
from conftest import install
from function import OF_TOKENS
from refusal import refused

UNSUPPORTED = "0A000"
DATABASE = "citus"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
REASON = {"reason": "a test"}
CATALOGS = """
CREATE TABLE pg_catalog.pg_dist_local_group (
    groupid integer PRIMARY KEY, logical_clock_value bigint NOT NULL DEFAULT 0
);
CREATE TABLE pg_catalog.pg_dist_partition (
    logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, partkey text,
    colocationid integer NOT NULL DEFAULT 0, repmodel "char" NOT NULL DEFAULT 'c',
    autoconverted boolean DEFAULT false
);
CREATE UNIQUE INDEX pg_dist_partition_logical_relid_index
    ON pg_catalog.pg_dist_partition (logicalrelid);
"""
# Every function that looks at an account or writes to a table, with good arguments.
OF_ADMINISTRATORS = {
    "totp_reset": REASON,
    "totp_unlock": REASON,
    "totp_forget": REASON,
    "totp_require": REASON,
    "pass_issue": REASON,
    "pass_revoke": REASON,
    "totp_exempt": {"until": "2030-01-01", **REASON},
    "totp_release": REASON,
    "backup_reissue": REASON,
    "totp_rename": {"new_account": "somebody", **REASON},
    "totp_export": {"label": "default", **REASON},
    "totp_import": {"label": "other", "uri": SECRET, **REASON},
}
OF_ACCOUNTS = {
    **functions.OF_ACCOUNTS,
    **OF_ADMINISTRATORS,
    "totp_remove": {"label": "default", "code": "123456"},
    "totp_resync": {"code1": "123456", "code2": "123457"},
    "token_assign": {"serial": "1", "code1": "123456", "code2": "123457"},
    # Called by functions of totp_api.
    "account_factors": {},
    "disable_attempt": {"code": "123456"},
    "remove_attempt": {"label": "default", "code": "123456"},
    "rotate_attempt": {"code": "123456"},
}
VECTORS = Path(__file__).resolve().parents[1] / "vectors/import"
# A table with the columns of every system that can be imported from.
SOURCE = """
CREATE TABLE source (
    id int, account text, user_id int, secret text, key text, name text, confirmed bool, step int,
    t0 int, digits int, drift int, last_t int, type text, data jsonb, secret_data text,
    credential_data text, user_label text, friendly_name text, factor_type text, status text
)
"""
ID = "00000000-0000-4000-8000-000000000000"
OTHERS = {
    "totp_verified": {},
    "totp_compliant": {},
    "approval_request": {"action": "transfer", "payload": "{}", "account": "x"},
    "approval_confirm": {"id": ID, "code": "123456"},
    "approval_status": {"id": ID},
    "approval_cancel": {"id": ID},
    "approval_use": {"action": "transfer", "payload": "{}"},
    "approval_spend": {"action": "transfer", "payload": "{}", "by_another": False},
    "totp_prune": {},
    "key_rotate_step": {"batch": 100, "state": None},
    "audit_seal": {},
    "audit_digest": {},
    "audit_checkpoint": {},
    "audit_verifier_key": {},
    "audit_proof": {"id": 1},
    "audit_verify": {},
    "audit_prune": {"before": "2030-01-01", **REASON},
    "events_read": {},
    "totp_export_all": {"accounts": ["x"], **REASON},
    "totp_export_migration": {"accounts": ["x"], **REASON},
    "import_rows": {"source": "source"},
    "import_django_otp": {"totp_table": "source"},
    "import_allauth": {"authenticator_table": "source"},
    "import_keycloak": {"credential_table": "source"},
    "import_supabase": {"factors_table": "source"},
    "import_auth0": {"document": "[]"},
    "import_fusionauth": {"document": '{"users": []}'},
    "import_libpam": {"account": "x", "document": "x"},
    "import_migration": {"account": "x", "uris": ["otpauth-migration://offline?data=EAEYAQ=="]},
    "import_app": {"account": "x", "document": "[]"},
    "import_oath_csv": {"document": f"1,{'31' * 20},totp"},
    "import_pskc": {"document": (VECTORS / "pskc-plain.xml").read_text()},
    "import_privacyidea": {"document": (VECTORS / "privacyidea.json").read_text()},
    "token_remove": {"serial": "1", **REASON},
}
# Those that look at no account: they go by the keys, the claims, shared memory or the catalogs.
ELSEWHERE = {"current_account", "session_account", "jwt_sign", "key_generate", "key_ids"}
# Without a file, these end before they look at an account.
ELSEWHERE |= {"import_django_totp", "import_better_auth"}
ELSEWHERE |= {"guard_usage", "preflight", "preflight_ok", "request_code", "request_account"}
ELSEWHERE |= {"audit_names", "metric_values", "missing_claim"}
# Called by functions of totp_api.
INSIDE = {"challenge_login", "verified_account", "verified_request_account"}
TRIGGERS = {"forget_account", "rename_account", "require_totp", "raise_check_violation"}
TRIGGERS |= {"require_enrolment", "require_approval", "require_other_approval"}
# Called by these, and calling approval_spend.
TRIGGERS |= {"approval_payload", "check_approval", "row_account"}


@pytest.fixture(scope="module")
def node(cluster):
    """A superuser in a database of a node; nothing says yet which one it is."""
    with cluster.database(DATABASE), cluster.connect(dbname=DATABASE) as connection:
        install(cluster, DATABASE)
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(CATALOGS)
        connection.execute(SOURCE)
        yield Client(connection)


@pytest.fixture
def person(node, account):
    return node.enrol(account)


@pytest.fixture(params=["on a worker", "with a distributed table"])
def elsewhere(node, person, request):
    """The tables are not the ones to ask."""
    group = 1 if request.param == "on a worker" else 0
    managed = [] if group else ["totp.accounts"]
    with citus(node, group, managed):
        yield node


@contextmanager
def citus(node, group, managed=()):
    """This node is of a group, and Citus manages some tables."""
    node.execute("INSERT INTO pg_dist_local_group VALUES (%s)", group)
    for table in managed:
        node.execute("INSERT INTO pg_dist_partition VALUES (%s, 'h', 'account')", table)
    try:
        yield
    finally:
        node.execute("TRUNCATE pg_dist_local_group, pg_dist_partition")


def uses_the_tables(node, person):
    """Whether the calls of a login work."""
    return node.is_enabled(person.account) and node.backup_verify(
        person.account, person.backup_codes.pop()
    )


def check(node):
    return node.row("SELECT * FROM totp.preflight() WHERE check_name = 'citus'")


@pytest.mark.parametrize("function", OF_ACCOUNTS)
def test_a_function_of_an_account_is_an_error(elsewhere, person, function):
    with refused(UNSUPPORTED):
        elsewhere.call(function, account=person.account, **OF_ACCOUNTS[function])


@pytest.mark.parametrize("function", OF_TOKENS)
def test_a_function_of_a_token_is_an_error(elsewhere, function):
    with refused(UNSUPPORTED):
        elsewhere.call(function, token="A" * 78, **OF_TOKENS[function])


@pytest.mark.parametrize("function", OTHERS)
def test_a_function_of_the_session_or_of_all_accounts_is_an_error(elsewhere, function):
    with refused(UNSUPPORTED):
        elsewhere.call(function, **OTHERS[function])


def test_key_rotate_is_an_error_and_not_a_wrong_report(elsewhere):
    with refused(UNSUPPORTED):
        elsewhere.execute("CALL totp.key_rotate()")


def test_these_are_all_functions(node):
    rows = node.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'totp'::regnamespace")
    pure = {"help", "totp_code", "totp_check", "totp_uri", "qr_svg", "qr_text"}
    tested = {*OF_ACCOUNTS, *OF_TOKENS, *OTHERS, "key_rotate"}
    assert {row.proname for row in rows} == tested | ELSEWHERE | INSIDE | TRIGGERS | pure


@pytest.mark.parametrize(
    ("trigger", "change"),
    [
        ("AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('id')", "DELETE"),
        ("AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION totp.rename_account('id')", "UPDATE"),
        ("BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION totp.require_totp()", "UPDATE"),
    ],
    ids=["forget_account", "rename_account", "require_totp"],
)
@pytest.mark.parametrize("name", ["known", "unknown"])
def test_a_trigger_refuses_the_change(elsewhere, person, trigger, change, name):
    account = person.account if name == "known" else "unknown"
    changes = {"DELETE": "DELETE FROM users", "UPDATE": "UPDATE users SET id = 'new'"}
    elsewhere.execute("CREATE TABLE users (id text)")
    try:
        elsewhere.execute("INSERT INTO users VALUES (%s)", account)
        elsewhere.execute(f"CREATE TRIGGER trigger {trigger}")
        with refused(UNSUPPORTED):
            elsewhere.execute(changes[change])
        assert elsewhere.value("SELECT id FROM users") == account
    finally:
        elsewhere.execute("DROP TABLE users")


def test_preflight_fails_and_says_what_the_error_says(elsewhere, person):
    found = check(elsewhere)
    with refused(UNSUPPORTED) as caught:
        elsewhere.is_enabled(person.account)
    diagnosis = caught.value.diag
    said = f"{diagnosis.message_primary}: {diagnosis.message_detail}"
    assert (found.status, found.detail, found.hint) == ("fail", said, diagnosis.message_hint)


def test_each_table_that_is_managed_is_an_error(node, person):
    tables = node.rows("""
        SELECT oid::regclass::text AS name FROM pg_class
        WHERE relnamespace = 'totp'::regnamespace AND relkind = 'r'
    """)
    assert len(tables) > 5
    for table in tables:
        with citus(node, 0, [table.name]), refused(UNSUPPORTED):
            node.is_enabled(person.account)


def test_a_role_that_may_not_read_the_catalogs_gets_the_same_error(cluster, node, person):
    with citus(node, 1), cluster.connect("app", DATABASE) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM pg_dist_local_group")
        with refused(UNSUPPORTED):
            Client(connection).verify(person.account, "123456")


@pytest.mark.parametrize("index", [True, False], ids=["with its index", "without"])
def test_the_coordinator_answers_while_other_tables_are_distributed(node, person, index):
    node.execute("CREATE TABLE orders (id bigint)")
    try:
        with node.connection.transaction(force_rollback=True):
            if not index:
                node.execute("DROP INDEX pg_catalog.pg_dist_partition_logical_relid_index")
            node.execute("INSERT INTO pg_dist_local_group VALUES (0)")
            node.execute("INSERT INTO pg_dist_partition VALUES ('orders', 'h', 'id')")
            assert uses_the_tables(node, person)
            assert check(node).status == "ok"
            node.execute("INSERT INTO pg_dist_partition VALUES ('totp.tokens', 'h', 'id')")
            with refused(UNSUPPORTED):
                node.is_enabled(person.account)
    finally:
        node.execute("DROP TABLE orders")


def test_empty_catalogs_change_nothing(node, person):
    assert uses_the_tables(node, person)
    assert check(node).status == "ok"


def test_a_session_sees_at_once_that_its_node_was_added_or_removed(cluster, node, person):
    with cluster.connect("app", DATABASE) as connection:
        session = Client(connection)
        assert session.is_enabled(person.account)
        with citus(node, 3), refused(UNSUPPORTED):
            session.is_enabled(person.account)
        assert session.is_enabled(person.account)


def test_a_database_without_citus_is_not_asked(app, dba, account):
    person = app.enrol(account)
    assert uses_the_tables(app, person)
    assert check(dba).status == "ok"
