"""The signatures of the audit trail, as Python computes them from the key file: a peer."""

import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

COLUMNS = "at, account, event, outcome, actor, detail"


def signature(key, row):
    """HMAC-SHA256 of the columns, each after its length, under a key for the trail alone."""
    own = hmac.digest(key.encode(), b"totp audit trail", "sha256")
    at = (row.at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    detail = (
        ""
        if row.detail is None
        else json.dumps(row.detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )
    texts = [row.account, row.event, row.outcome, row.actor, detail]
    fields = [at.to_bytes(8, "big"), *(text.encode() for text in texts)]
    message = b"".join(len(field).to_bytes(8, "big") + field for field in fields)
    return hmac.digest(own, message, "sha256")


@pytest.fixture
def trail(app, dba, account):
    """The rows of an account to which much has happened."""
    name = f'{account} ü"\\\n'
    person = app.enrol(name, label="phone")
    app.verify(name, person.phone.wrong(app.now))
    app.verify(name, person.phone.code(app.now, 1))
    app.backup_verify(name, person.backup_codes[0])
    dba.call("totp_reset", account=name, reason='she showed her passport: "ü"')
    query = f"SELECT {COLUMNS}, mac FROM totp.audit_events WHERE account = %s ORDER BY id"
    return dba.rows(query, name)


def test_each_entry_has_the_signature_that_python_computes(trail, key_file):
    events = [row.event for row in trail]
    assert events == ["create", "confirm", *["verify"] * 3, "reset"]
    for row in trail:
        assert row.mac == signature(key_file.keys[0], row)


@pytest.mark.parametrize(
    ("column", "value"),
    {
        "at": datetime(2001, 1, 1, tzinfo=UTC),
        "account": "another",
        "event": "unlock",
        "outcome": "replayed",
        "actor": "somebody",
        "detail": {},
    }.items(),
)
def test_a_column_that_somebody_changed_does_not_fit_its_signature(trail, key_file, column, value):
    for row in trail:
        assert row.mac != signature(key_file.keys[0], row._replace(**{column: value}))


def test_nobody_signs_without_the_key(trail, key_file):
    other = key_file.keys[0][::-1]
    assert all(row.mac != signature(other, row) for row in trail)
