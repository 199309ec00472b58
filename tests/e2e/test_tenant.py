"""Defaults per tenant: totp.tenant_function, and the rights with which it runs."""

from urllib.parse import parse_qs, urlsplit

import psycopg
import pyotp
import pytest

from client import Client
from cluster import ROOT
from conftest import DATABASE, install
from picture import read_qr, svg_to_png
from refusal import BAD_ARGUMENT, NOT_ALLOWED, refused
from trap import trap, victims

NO_FUNCTION = "42883"
SEVERAL_ROWS = "21000"
REASON = "a test"
LOGO = "https://acme.example/logo.png?size=64&theme=dark"
# The account of a tenant begins with its name.
SCHEMA = """
CREATE ROLE tenant_owner;
CREATE SCHEMA shop AUTHORIZATION tenant_owner;
SET ROLE tenant_owner;
CREATE TABLE shop.tenants (name text PRIMARY KEY, issuer text, logo text, digits int, period int);
INSERT INTO shop.tenants VALUES
    ('acme', 'Acme', 'https://acme.example/logo.png?size=64&theme=dark', 8, 60),
    ('plain', 'Plain', NULL, NULL, NULL), ('colon', 'A: B', NULL, NULL, NULL),
    ('http', 'H', 'http://a.example/', NULL, NULL), ('nine', 'N', NULL, 9, NULL),
    ('slow', 'S', NULL, NULL, 121), ('empty', '', '', NULL, NULL);
CREATE FUNCTION shop.tenant(account text, OUT issuer text, OUT image text, OUT digits int, OUT period int)
RETURNS SETOF record LANGUAGE sql STABLE AS $$
    SELECT issuer, logo, digits, period FROM shop.tenants WHERE name = split_part(account, '/', 1)
$$;
RESET ROLE;
"""


@pytest.fixture(scope="module")
def shop(cluster):
    """A database whose accounts belong to tenants, and a superuser's session in it."""
    name = "tenants"
    with cluster.database(name):
        install(cluster, name)
        with cluster.connect(dbname=name) as connection:
            client = Client(connection)
            client.execute(SCHEMA)
            client.execute(f"ALTER DATABASE {name} SET totp.tenant_function = 'shop.tenant(text)'")
            client.execute("SET totp.tenant_function = 'shop.tenant(text)'")
            yield client


@pytest.fixture
def backend(cluster, shop):
    """The application's session: its role has no rights in the schema of the function."""
    with cluster.connect("app", "tenants") as connection:
        yield Client(connection)


@pytest.fixture
def function(shop):
    """Replaces the function until the end of the test: `function(body, columns)`."""

    def replace(body, columns="issuer text, image text, digits int, period int", name="other"):
        shop.execute("SET ROLE tenant_owner")
        shop.execute(
            f"CREATE FUNCTION shop.{name}(account text) RETURNS TABLE ({columns}) LANGUAGE plpgsql"
            f" AS $body$ BEGIN {body} END $body$"
        )
        shop.execute("RESET ROLE")
        shop.execute(f"SET totp.tenant_function = 'shop.{name}'")

    with shop.connection.transaction(force_rollback=True):
        yield replace


def parameters(uri):
    return {name: value for name, (value,) in parse_qs(urlsplit(uri).query).items()}


def test_the_function_gives_what_the_caller_does_not(backend, tmp_path):
    created = backend.create("acme/alice", account_name="alice")
    svg_to_png(created.qr_svg, tmp_path / "qr.png", "white")
    assert read_qr(tmp_path / "qr.png") == created.uri
    expected = {"issuer": "Acme", "image": LOGO, "digits": "8", "period": "60"}
    assert parameters(created.uri).items() >= expected.items()
    peer = pyotp.parse_uri(created.uri)
    assert (peer.issuer, peer.digits, peer.interval) == ("Acme", 8, 60)


def test_its_codes_are_accepted(backend):
    created = backend.create("acme/bob")
    peer = pyotp.parse_uri(created.uri)
    assert backend.confirm("acme/bob", peer.at(int(backend.now))).confirmed


def test_what_the_caller_passes_goes_before_it(backend):
    created = backend.create("acme/carol", issuer="Own", digits=6, period=30)
    expected = {"issuer": "Own", "image": LOGO, "digits": "6", "period": "30"}
    assert parameters(created.uri).items() >= expected.items()


@pytest.mark.parametrize(("account", "issuer"), [("plain/alice", "Plain"), ("unknown", "tenants")])
def test_null_and_no_row_leave_the_defaults(backend, account, issuer):
    found = parameters(backend.create(account).uri)
    assert found.items() >= {"issuer": issuer, "digits": "6", "period": "30"}.items()
    assert "image" not in found


def test_a_secret_is_shown_again_as_it_was(backend):
    first = backend.create("acme/dave", reuse=True)
    assert backend.create("acme/dave", reuse=True) == first


def test_an_export_shows_the_logo_and_keeps_the_issuer(backend, shop):
    created = backend.create("acme/erin", issuer="Own")
    backend.confirm("acme/erin", pyotp.parse_uri(created.uri).at(int(backend.now)))
    export = "SELECT totp.totp_export('acme/erin', 'default', %s)"
    assert shop.value(export, REASON) == created.uri
    (row,) = shop.rows("SELECT uri FROM totp.totp_export_all(ARRAY['acme/erin'], %s)", REASON)
    assert row.uri == created.uri


def test_an_export_does_not_leave_factors_out_when_the_function_fails(backend, shop, function):
    created = backend.create("acme/frank")
    backend.confirm("acme/frank", pyotp.parse_uri(created.uri).at(int(backend.now)))
    function("RAISE 'no tenants today';")
    for exporter in ("totp_export_all", "totp_export_migration"):
        with pytest.raises(psycopg.errors.RaiseException), shop.connection.transaction():
            shop.rows(f"SELECT * FROM totp.{exporter}(ARRAY['acme/frank'], %s)", REASON)


@pytest.mark.parametrize("account", ["colon/a", "http/a", "nine/a", "slow/a"])
def test_a_value_that_no_uri_can_have_is_an_error_that_names_the_setting(backend, account):
    with refused(BAD_ARGUMENT) as caught:
        backend.create(account)
    assert "totp.tenant_function" in caught.value.diag.message_detail
    assert backend.value("SELECT totp.totp_enabled(%s)", account) is False
    assert backend.rows("SELECT totp.totp_status(%s)", account)


def test_an_empty_text_is_no_value(backend):
    uri = backend.create("empty/a").uri
    assert "image=" not in uri and pyotp.parse_uri(uri).issuer == backend.value(
        "SELECT current_database()"
    )


def test_two_rows_are_an_error(shop, function):
    function("RETURN QUERY SELECT 'A', NULL, 6, 30 UNION ALL SELECT 'B', NULL, 6, 30;")
    with refused(SEVERAL_ROWS), shop.connection.transaction():
        shop.create("two")


@pytest.mark.parametrize(
    "setting",
    [
        "tenant(text)",
        "shop.nothing",
        "nowhere.tenant",
        "shop.tenant(integer)",
        "shop.tenant(text, text)",
        "shop.tenant(text); DROP TABLE shop.tenants",
        "'",
        'shop."tenant',
        "shop.Tenant(text) --",
        "pg_catalog.length(text)",
    ],
)
def test_a_setting_that_names_no_such_function_is_an_error(shop, setting):
    with shop.connection.transaction(force_rollback=True):
        shop.value("SELECT set_config('totp.tenant_function', %s, true)", setting)
        with refused(NO_FUNCTION):
            shop.create("acme/nobody")


@pytest.mark.parametrize(
    "setting", ["shop.tenant", "SHOP.Tenant(TEXT)", ' shop."tenant" ( text ) ', "shop.tenant(text)"]
)
def test_the_function_is_named_as_in_sql(shop, setting):
    with shop.connection.transaction(force_rollback=True):
        shop.value("SELECT set_config('totp.tenant_function', %s, true)", setting)
        assert parameters(shop.create("acme/gina").uri)["issuer"] == "Acme"


def test_a_name_that_needs_quotes(shop, function):
    function("RETURN QUERY SELECT 'Quoted', NULL, 6, 30;", name='"Our tenants"')
    shop.execute("""SET totp.tenant_function = 'shop."Our tenants"(text)'""")
    assert parameters(shop.create("quoted").uri)["issuer"] == "Quoted"


def test_a_function_without_a_column_is_an_error(shop, function):
    function("RETURN QUERY SELECT 'A', NULL, 6;", columns="issuer text, image text, digits int")
    with refused(NO_FUNCTION), shop.connection.transaction():
        shop.create("incomplete")


def test_a_function_may_return_a_row_of_a_table(shop, function):
    shop.execute("CREATE TYPE shop.defaults AS (period int, digits int, image text, issuer text)")
    shop.execute(
        "CREATE FUNCTION shop.composite(text) RETURNS shop.defaults LANGUAGE sql"
        " AS $$ SELECT ROW(45, 7, NULL, 'Row')::shop.defaults $$"
    )
    shop.execute("SET totp.tenant_function = 'shop.composite'")
    found = parameters(shop.create("composite").uri)
    assert (found["issuer"], found["digits"], found["period"]) == ("Row", "7", "45")


def test_it_runs_with_the_rights_of_its_owner(shop, function):
    function("RETURN QUERY SELECT current_user::text, NULL, 6, 30;")
    assert parameters(shop.create("who").uri)["issuer"] == "tenant_owner"
    assert shop.value("SELECT current_user") == "postgres"


@pytest.mark.parametrize(
    "attack",
    [
        "PERFORM encrypted FROM (SELECT sealed AS encrypted FROM totp.factors) AS f;",
        "UPDATE totp.accounts SET failures = 0;",
        "SET LOCAL ROLE totp_owner;",
        "RESET ROLE; PERFORM * FROM totp.factors;",
        "SET SESSION AUTHORIZATION DEFAULT;",
        "PERFORM totp.totp_reset(account, 'by tenant');",
        "PERFORM totp.totp_create(account);",
        "CREATE TEMP TABLE pocket ();",
    ],
)
def test_it_cannot_reach_the_secrets(shop, function, attack):
    # So that nothing else refuses the call, were it made with the rights of totp_owner.
    shop.execute("GRANT USAGE ON SCHEMA shop TO totp_owner")
    function("RETURN QUERY SELECT NULL, NULL, 6, 30;", name="harmless")
    assert shop.create("acme/first").secret
    function(attack + " RETURN QUERY SELECT NULL, NULL, 6, 30;")
    with pytest.raises(psycopg.Error) as caught, shop.connection.transaction():
        shop.create("acme/victim")
    assert caught.value.sqlstate in (NOT_ALLOWED, "0A000", "25001"), caught.value
    assert shop.value("SELECT current_user") == "postgres"


@pytest.mark.parametrize("is_local", ["true", "false"])
def test_what_it_sets_is_undone(shop, function, is_local):
    """Otherwise its search_path would have our statements call its operators, as totp_owner."""
    shop.execute(trap("shop"))
    claims = '{"sub": "acme/victim", "session_id": "other"}'
    function(
        f"PERFORM set_config('search_path', 'shop, pg_catalog', {is_local});"
        f" PERFORM set_config('request.jwt.claims', '{claims}', {is_local});"
        " RETURN QUERY SELECT NULL, NULL, 6, 30;"
    )
    before = shop.row("SELECT current_setting('search_path'), totp.current_account()")
    created = shop.create("acme/victim")
    assert victims(shop, "shop") == []
    assert shop.row("SELECT current_setting('search_path'), totp.current_account()") == before
    assert shop.confirm("acme/victim", pyotp.parse_uri(created.uri).at(int(shop.now))).confirmed


def test_an_error_in_it_reaches_the_caller_and_restores_the_rights(shop, function):
    function("RAISE 'unknown tenant' USING ERRCODE = 'P0002';")
    with pytest.raises(psycopg.errors.NoDataFound), shop.connection.transaction():
        shop.create("acme/victim")
    assert shop.value("SELECT current_user") == "postgres"
    shop.execute("SET totp.tenant_function = 'shop.tenant'")
    assert parameters(shop.create("acme/victim").uri)["issuer"] == "Acme"


@pytest.mark.parametrize("role", ["app", "administrator", "stranger"])
def test_only_a_superuser_names_the_function(cluster, role):
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with cluster.connect(role, DATABASE) as connection, denied:
        connection.execute("SET totp.tenant_function = 'shop.tenant(text)'")


def test_preflight_knows_the_function_until_it_is_renamed(shop):
    query = "SELECT status FROM totp.preflight() WHERE check_name = 'tenant_function'"
    assert shop.value(query) == "ok"
    with shop.connection.transaction(force_rollback=True):
        shop.execute("ALTER FUNCTION shop.tenant(text) RENAME TO renamed")
        assert shop.value(query) == "fail"


def test_the_page_shows_a_function_that_works(cluster, other_database):
    page = (ROOT / "docs/application.md").read_text()
    section = page[page.index("## Tenants") :]
    (block,) = [part.split("```")[0] for part in section.split("```sql\n")[1:2]]
    install(cluster, other_database)
    with cluster.connect(dbname=other_database) as connection:
        client = Client(connection)
        client.execute(block)
        client.execute("SET totp.tenant_function = 'public.tenant(text)'")
        client.execute("INSERT INTO tenants VALUES ('acme', 'Acme', 'https://acme.example/a.png')")
        found = parameters(client.create("acme/alice").uri)
        assert (found["issuer"], found["image"]) == ("Acme", "https://acme.example/a.png")
        assert parameters(client.create("other/alice").uri)["issuer"] == other_database
