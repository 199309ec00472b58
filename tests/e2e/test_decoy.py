"""A wrong code for an account that does not exist writes to a decoy, and nobody waits for one."""

from contextlib import closing

import pytest

from client import Traveller
from conftest import DATABASE, new_account

WRONG = "1234567"
# Rows that were written again since the test began, and what the table must always hold.
WRITTEN = "SELECT count(*) FROM totp.decoys WHERE xmin::text::bigint >= %s"
CONTENT = "SELECT DISTINCT failures FROM totp.decoys"


@pytest.fixture
def written(app, dba):
    """Counts the decoys that were written since the test began. The first account made them."""
    app.create(new_account())
    (begin,) = dba.row("SELECT pg_current_xact_id()::text::bigint")
    return lambda: dba.value(WRITTEN, begin)


@pytest.fixture
def travellers(cluster):
    """Two clients whose clock shows the same microsecond: they meet on one decoy."""
    with (
        closing(cluster.connect("traveller", DATABASE, autocommit=False)) as first,
        closing(cluster.connect("traveller", DATABASE)) as second,
    ):
        yield Traveller(first), Traveller(second)


def test_an_unknown_account_writes_to_a_decoy(app, dba, written):
    assert written() == 0
    assert app.verify(new_account(), WRONG) is False
    # Two, if there were too many such attempts for another audit entry.
    assert written() in (1, 2)
    assert dba.rows(CONTENT) == [(0,)]
    assert dba.value("SELECT count(*) FROM totp.decoys") == 256


def test_a_malformed_code_writes_to_none(app, written):
    assert app.verify(new_account(), "no code") is False
    assert written() == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_stricter_transactions_write_to_none(app, written, level):
    """Two of them that met on one would fail for nothing."""
    app.execute(f"BEGIN ISOLATION LEVEL {level}")
    assert app.verify(new_account(), WRONG) is False
    app.execute("COMMIT")
    assert written() == 0


def test_nobody_waits_for_a_decoy(travellers):
    holder, other = travellers
    assert holder.verify(new_account(), WRONG) is False
    # The holder's transaction does not end: a wait for it would end in an error.
    other.execute("SET statement_timeout = '10s'")
    assert other.verify(new_account(), WRONG) is False
    holder.connection.rollback()


def test_an_account_without_a_factor_is_unknown_too(app, account, written):
    app.create(account)
    assert app.verify(account, WRONG) is False
    assert app.status(account).failures == 0
    assert written() in (1, 2)
