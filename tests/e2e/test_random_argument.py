"""Random arguments: a result, or an error of the contract. Never another error, never a crash."""

from uuid import uuid4

import psycopg
import pytest

from refusal import BAD_ARGUMENT, NOT_ALLOWED, NOT_THERE

CALLS = 400
EXPECTED = {BAD_ARGUMENT, NOT_THERE, NOT_ALLOWED}
# Pieces that mean something to one of the parsers.
PIECES = [
    *"0123456789 \t\n-+=:;,./%&?#\\'\"<>$ABCXYZabcxyzOILU",
    *"\u00a0\u200f\u202e\ufeff\uff11\u0661é🔑\x01\x7f\U0010ffff",
    *("SHA1", "sha256", "SHA-512", "default", "otpauth://totp/", "secret=", "%00", "{}", "NULL"),
    *("GEZDGNBVGY3TQOJQ", "0000-0000-0000-0000", "123456", "12345678"),
]
INTEGERS = [None, -(2**31), -30, -1, 0, 1, 5, 6, 7, 8, 9, 30, 60, 120, 121, 1000, 2**31 - 1]
SPANS = [None, "0", "1 s", "-1 s", "5 min", "366 days", "367 days", "1 month", "178000000 years"]
OBJECTS = [None, "{}", "[]", "null", "7", '""', '{"a": [{}]}', '{"sub": "root", "exp": 1e400}']
MOMENTS = ["-infinity", "infinity", "4713-01-01 BC", "1970-01-01 00:00:00+00", "now", None]


@pytest.fixture
def signatures(dba):
    """Name, argument names and types of every function that a role other than ours may call."""
    return dba.rows("""
        SELECT proname, proargnames[1:pronargs] AS names, proargtypes::regtype[]::text[] AS types
        FROM pg_proc WHERE pronamespace = 'totp'::regnamespace AND pronargs > 0
        AND has_function_privilege('totp_app', oid, 'EXECUTE') ORDER BY proname
    """)


def random_text(dice):
    kind = dice.random()
    if kind < 0.1:
        return None
    if kind < 0.15:
        return dice.choice(PIECES) * dice.choice([255, 256, 1000, 100_000])
    return "".join(dice.choices(PIECES, k=dice.randrange(12)))


def random_value(dice, kind):
    if kind == "integer":
        return dice.choice(INTEGERS)
    if kind == "boolean":
        return dice.choice([None, True, False])
    if kind == "timestamp with time zone":
        return dice.choice(MOMENTS)
    if kind == "interval":
        return dice.choice(SPANS)
    if kind == "uuid":
        return dice.choice([None, str(uuid4())])
    if kind == "jsonb":
        return dice.choice(OBJECTS)
    return random_text(dice)


def test_random_arguments_give_a_result_or_an_error_of_the_contract(app, dice, signatures):
    for _ in range(CALLS):
        function = dice.choice(signatures)
        pairs = zip(function.names, function.types, strict=True)
        arguments = {name: random_value(dice, kind) for name, kind in pairs}
        try:
            app.call(function.proname, **arguments)
        except ValueError:
            # No row: there is no approval with this ID.
            assert function.proname == "approval_status"
        except psycopg.Error as error:
            assert error.sqlstate in EXPECTED, (error, function.proname, arguments)
    assert app.value("SELECT 1") == 1


def test_random_codes_for_an_account_are_never_accepted_and_never_an_error(
    traveller, dice, account
):
    person = traveller.enrol(account)
    for _ in range(CALLS):
        traveller.wait(3600)
        text = random_text(dice)
        if text is not None and "".join(text.split()) == person.phone.code(traveller.now):
            continue
        verify = dice.choice([traveller.verify, traveller.backup_verify, traveller.disable])
        assert verify(account, text) is False, text
