"""An error as the project words it: SQLSTATE, message, DETAIL, HINT, and nothing secret in it."""

from contextlib import contextmanager

import psycopg
import pytest

BAD_ARGUMENT = "22023"
NOT_THERE = "42704"
NOT_ALLOWED = "42501"
READ_ONLY = "25006"
NO_KEY = "F0000"
DAMAGED = "XX001"


@contextmanager
def refused(sqlstate, without=()):
    """The block ends in an error of this SQLSTATE that is worded well and echoes no input."""
    with pytest.raises(psycopg.Error) as caught:
        yield caught
    diagnosis = caught.value.diag
    shown = f"{diagnosis.sqlstate}: {caught.value}"
    assert diagnosis.sqlstate == sqlstate, shown
    assert not diagnosis.message_primary[0].isupper(), shown
    assert not diagnosis.message_primary.endswith("."), shown
    for sentence in (diagnosis.message_detail, diagnosis.message_hint):
        assert sentence and sentence.endswith("."), shown
        assert sentence[0].isupper() or sentence.startswith("totp."), shown
    for text in without:
        assert text not in str(caught.value), "the error echoes its input"


@contextmanager
def denied():
    """The block ends in PostgreSQL's own "permission denied"."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        yield
