"""The view audit_ocsf: the audit trail as events of the Open Cybersecurity Schema Framework."""

import base64
import re
from contextlib import closing

import pyotp
import pytest
from cryptography.fernet import Fernet

from client import Client, Traveller
from cluster import ROOT, Cluster
from conftest import install, new_account

# What https://github.com/ocsf/ocsf-schema at tag 1.8.0 (6fa6499a0f8c) marks as "required", by file.
REQUIRED = {
    # events/base_event.json
    "": [
        *("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time"),
        "type_uid",
        # events/iam/authentication.json and events/iam/account_change.json
        "user",
    ],
    # objects/metadata.json
    "metadata": ["product", "version"],
    # objects/auth_factor.json
    "auth_factors": ["factor_type_id"],
}
# The same files' "constraints": "at_least_one".
AT_LEAST_ONE = {
    # objects/user.json
    "user": ["account", "name", "uid"],
    # objects/_entity.json, which objects/product.json extends
    "metadata.product": ["name", "uid"],
    # objects/actor.json
    "actor": ["process", "user", "invoked_by", "session", "app_name", "app_uid"],
    # objects/network_endpoint.json
    "src_endpoint": [
        *("ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid"),
        *("interface_name", "domain"),
    ],
}
# events/iam/authentication.json: one of these in events of this class.
ENDS = ["service", "dst_endpoint"]
# "activity_id" in events/base_event.json and the two classes: the captions of what we use.
ACTIVITIES = {
    3001: {
        6: "Delete",
        10: "MFA Factor Enable",
        11: "MFA Factor Disable",
        12: "Unlock",
    },
    3002: {1: "Logon"},
}
# dictionary.json: "type" of attributes.
INTEGERS = ["activity_id", "category_uid", "class_uid", "severity_id", "status_id", "time"]
TEXTS = ["activity_name", "class_name", "message", "status", "status_code", "status_detail"]
# dictionary.json: the enumerations.
SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium"}
STATUSES = {1: "Success", 2: "Failure"}


@pytest.fixture(scope="module")
def server():
    with Cluster() as cluster:
        install(cluster, "postgres")
        cluster.execute(
            "CREATE ROLE app LOGIN IN ROLE totp_app",
            "CREATE ROLE auditor LOGIN IN ROLE totp_auditor",
            "CREATE ROLE stranger LOGIN",
            "GRANT SET ON PARAMETER totp.clock, totp.recovery_delay TO app",
        )
        yield cluster


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Traveller(connection)


@pytest.fixture
def auditor(server):
    with closing(server.connect("auditor")) as connection:
        yield Client(connection)


@pytest.fixture
def person(dba):
    return dba.enrol(new_account())


def events_of(auditor, account):
    rows = auditor.rows(
        "SELECT event FROM totp.audit_ocsf WHERE event #>> '{user,name}' = %s ORDER BY id", account
    )
    return [row.event for row in rows]


def everything(dba, server):
    """An account's life, so that each kind of event is in the trail."""
    account = new_account()
    person = dba.enrol(account)

    def code():
        dba.wait(60)
        return person.phone.take(dba.now)

    used = code()
    assert dba.verify(account, used) and not dba.verify(account, used)
    dba.verify("nobody", "123456")
    assert dba.answer(dba.challenge(account), code()).verified
    dba.enrol(account, label="tablet")
    codes = [person.phone.code(dba.now + 300, ahead) for ahead in (0, 1)]
    assert dba.call("totp_resync", account=account, code1=codes[0], code2=codes[1])[0]
    dba.wait(900)
    assert dba.call("totp_remove", account=account, label="tablet", code=code())[0]
    assert not dba.call("totp_remove", account=account, label="default", code=code())[0]
    dba.wait(900)
    (paper, *_) = dba.backup_rotate(account, code())
    assert dba.backup_verify(account, paper)
    dba.trust(account)
    dba.call("trust_revoke", account=account)
    dba.fail(person, 5)
    for function in ("totp_unlock", "backup_reissue"):
        dba.call(function, account=account, reason="a test")
    dba.call("totp_export", account=account, label="default", reason="a test")
    dba.execute("SET totp.recovery_delay = '1d'")
    for _ in range(2):
        assert not dba.recover(dba.recovery(account))
        assert dba.call("recovery_cancel", account=account)[0]
    dba.execute("SET totp.recovery_delay = 0")
    dba.wait(900)
    assert dba.disable(account, code())
    person = dba.enrol(account)
    assert dba.recover(dba.recovery(account))
    uri = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    dba.call("totp_import", account=account, uri=uri)
    dba.call("totp_reset", account=account, reason="a test")
    dba.call("totp_rename", account=account, new_account=f"{account}-2", reason="a test")
    dba.call("totp_forget", account=f"{account}-2", reason="a test")
    few = dba.enrol(new_account())
    for paper in few.backup_codes[:7]:
        assert dba.backup_verify(few.account, paper)
    for function in ("totp_require", "pass_issue", "pass_revoke"):
        dba.call(function, account=few.account, reason="a test")
    dba.call("totp_exempt", account=few.account, until="2030-02-01", reason="a test")
    dba.call("totp_release", account=few.account, reason="a test")
    approve(dba)
    token = base64.b32encode(b"1" * 20).decode()
    dba.call("import_oath_csv", document=f"1,{'31' * 20},totp")
    codes = [pyotp.TOTP(token).at(dba.now + ahead) for ahead in (0, 30)]
    dba.call("token_assign", account=few.account, serial="1", code1=codes[0], code2=codes[1])
    dba.call("token_remove", serial="1", reason="a test")
    keys = server.data_dir / "totp.keys"
    keys.write_text(Fernet.generate_key().decode() + "\n" + keys.read_text())
    dba.execute("CALL totp.key_rotate()")
    dba.value("SELECT totp.key_generate()")
    assert dba.value("SELECT totp.audit_prune('2030-01-01 00:00:01+00', 'a test')") > 0


def approve(dba):
    """Approves an action of this login role's own account, and uses that; then cancels a request."""
    dba.execute("SET totp.identity = 'role'")
    person = dba.enrol(dba.value("SELECT session_user::text"))
    request = "SELECT id FROM totp.approval_request('pay', '{}')"
    confirm = "SELECT verified FROM totp.approval_confirm(%s, %s)"
    assert dba.value(confirm, dba.value(request), person.backup_codes[0])
    assert dba.value("SELECT totp.approval_use('pay', '{}')")
    assert dba.value("SELECT totp.approval_cancel(%s)", dba.value(request))
    dba.execute("RESET totp.identity")


def test_each_entry_is_an_event_with_the_required_attributes(server, dba, auditor):
    dba.enrol(new_account())
    dba.value("SELECT totp.audit_seal()")
    with closing(server.connect("app")) as connection:
        # A client with an address, one with another name, and one without either.
        for client in ("10.1.2.3", "2001:db8::1", "browser 7", ""):
            connection.execute("SELECT set_config('totp.client', %s, false)", [client])
            app = Traveller(connection)
            app.enrol(new_account())
    everything(dba, server)
    entries = auditor.rows("SELECT * FROM totp.audit_log ORDER BY id")
    rows = auditor.rows("SELECT * FROM totp.audit_ocsf ORDER BY id")
    assert [(row.id, row.at) for row in rows] == [(entry.id, entry.at) for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        check(row.event)
        assert row.event["time"] == int(entry.at.timestamp() * 1000)
        assert row.event["metadata"]["event_code"] == entry.event
        assert row.event["status_code"] == entry.outcome
        assert row.event.get("unmapped") == entry.detail
        assert row.event["actor"]["user"]["name"] == entry.actor
        assert row.event["user"]["name"] == (entry.account or entry.actor)
        client = row.event.get("src_endpoint", {})
        assert client.get("ip", client.get("name")) == entry.client
    # Each kind of event that there is has been checked.
    source = (ROOT / "src/pure/audit.rs").read_text().partition("impl Event")[2]
    names = set(re.findall(r'=> "(\w+)"', source.partition("}\n    }")[0]))
    assert len(names) > 20
    assert names - {entry.event for entry in entries} == set()


def check(event):
    """What the schema requires of an event."""
    for path, attributes in REQUIRED.items():
        for part in parts(event, path):
            assert set(attributes) <= part.keys(), (path, event)
    for path, attributes in AT_LEAST_ONE.items():
        for part in parts(event, path):
            assert set(attributes) & part.keys(), (path, event)
    class_uid, activity = event["class_uid"], event["activity_id"]
    if class_uid == 3002:
        assert set(ENDS) & event.keys()
    assert event["category_uid"] == 3
    assert event["type_uid"] == class_uid * 100 + activity
    if activity == 99:
        # "Other" is explained by the source's own word.
        assert event["activity_name"] == event["metadata"]["event_code"]
    else:
        assert event["activity_name"] == ACTIVITIES[class_uid][activity]
    assert event["severity"] == SEVERITIES[event["severity_id"]]
    assert event["status"] == STATUSES[event["status_id"]]
    for name in INTEGERS:
        assert isinstance(event[name], int) and not isinstance(event[name], bool), name
    for name in TEXTS:
        assert isinstance(event.get(name, ""), str), name
    assert "null" not in str(event) and None not in event.values()


def parts(event, path):
    """The objects at a path, none if it is not there."""
    found = [event]
    for name in filter(None, path.split(".")):
        found = [part[name] for part in found if name in part]
        found = [item for part in found for item in (part if isinstance(part, list) else [part])]
    return found


def test_entries_have_the_documented_activities(server, auditor):
    page = (ROOT / "docs/audit.md").read_text().partition("## For a SIEM")[2]
    table = page.partition("\n\n<!--")[0]
    documented = {
        name: int(activity)
        for names, activity in re.findall(r"^\| (`.*) \| (\d+),", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert len(documented) == 11
    rows = auditor.rows("""
        SELECT DISTINCT event #>> '{metadata,event_code}' AS name,
            (event -> 'activity_id')::int AS activity, (event -> 'class_uid')::int AS class_uid
        FROM totp.audit_ocsf WHERE id IN (SELECT id FROM totp.audit_log WHERE account <> '')
    """)
    for row in rows:
        assert row.activity == documented.get(row.name, 99), row
        assert row.class_uid == (3002 if row.name in ("verify", "challenge", "approve") else 3001)


def test_an_attack_is_more_severe_than_a_typing_error(dba, auditor, person):
    dba.wait(60)
    code = person.phone.take(dba.now)
    assert dba.verify(person.account, code)
    dba.fail(person, 1)
    assert not dba.verify(person.account, code)
    dba.fail(person, 3)
    severities = [event["severity_id"] for event in events_of(auditor, person.account)]
    assert severities == [1, 1, 1, 2, 3, 2, 2, 3]


def test_a_code_says_what_kind_of_factor_it_was(dba, auditor, person):
    dba.wait(60)
    assert dba.verify(person.account, person.phone.take(dba.now))
    assert dba.backup_verify(person.account, person.backup_codes[0])
    events = events_of(auditor, person.account)
    by_app, on_paper = (event["auth_factors"][0] for event in events[-2:])
    assert (by_app["factor_type_id"], by_app["is_totp"]) == (7, True)
    assert (on_paper["factor_type_id"], on_paper["factor_type"]) == (99, "backup code")


def test_a_hashed_account_stays_hashed(dba, auditor):
    account = new_account()
    dba.execute("SET totp.audit_accounts = hash")
    dba.create(account)
    assert events_of(auditor, account) == []
    rows = auditor.rows("SELECT event::text FROM totp.audit_ocsf")
    assert account not in str(rows)


def test_others_read_no_events(server):
    for role in ("app", "stranger"):
        denied = pytest.raises(Exception, match="permission denied")
        with closing(server.connect(role)) as connection, denied:
            connection.execute("SELECT * FROM totp.audit_ocsf")
