"""What each role gets from the functions that it may call. Who may call which function, read which
table and change which setting is asked in redteam/: test_privilege.py, test_table.py and
test_setting.py."""

import pytest

from client import Client
from conftest import DATABASE
from function import OF_SECRETS, OF_SELF_SERVICE, call_with_secret
from refusal import NO_KEY, NOT_ALLOWED, refused

ROLES = ["stranger", "app", "administrator", "auditor", "self_service"]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.fixture(params=ROLES)
def anybody(request, cluster):
    """A client of each role in turn."""
    with cluster.connect(request.param, DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def connect(cluster):
    """A function that logs in as a role."""
    opened = []

    def log_in(role):
        opened.append(cluster.connect(role, DATABASE))
        return Client(opened[-1])

    yield log_in
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("role", ["app", "administrator", "auditor", "self_service"])
def test_a_login_without_claims_is_nobody(connect, role):
    client = connect(role)
    assert client.value("SELECT totp.current_account()") is None
    assert client.value("SELECT totp.totp_verified()") is False


def test_an_administrator_signs_nothing_without_a_secret(connect):
    with refused(NO_KEY):
        connect("administrator").execute("SELECT totp.jwt_sign('{}')")


@pytest.mark.parametrize("function", OF_SELF_SERVICE)
def test_self_service_is_for_nobody_without_an_account(connect, function):
    with refused(NOT_ALLOWED):
        connect("self_service").call(function, schema="totp_api", **OF_SELF_SERVICE[function])


@pytest.mark.parametrize("role", ["administrator", "auditor"])
def test_administrators_and_auditors_see_the_status(connect, app, account, role):
    app.enrol(account)
    assert connect(role).status(account).enabled is True
    assert connect(role).is_enabled(account) is True
    assert connect(role).backup_remaining(account) == 10


@pytest.mark.parametrize("function", OF_SECRETS)
def test_anybody_may_compute(anybody, function):
    assert call_with_secret(anybody, function, SECRET) is not None


def test_anybody_may_draw(anybody):
    assert anybody.value("SELECT totp.qr_svg('data')").startswith("<svg")
    assert "█" in anybody.value("SELECT totp.qr_text('data')")


def test_the_actor_in_the_audit_trail_is_the_login_role(connect, dba, account):
    connect("app").enrol(account)
    with dba.connection.transaction():
        dba.execute("SET LOCAL ROLE app")
        dba.verify(account, "000000")
    query = "SELECT actor, detail FROM totp.audit_events WHERE account = %s ORDER BY id"
    events = dba.rows(query, account)
    assert [event.actor for event in events] == ["app", "app", "postgres"]
    assert events[-1].detail["role"] == "app"
