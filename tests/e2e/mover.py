"""An administrator who moves accounts here from another system, on a clock that stands still."""

import secrets
from contextlib import contextmanager

import pyotp

from client import Traveller
from conftest import install

ROLE = """
DO $$ BEGIN
    CREATE ROLE mover LOGIN IN ROLE totp_admin, totp_app;
    GRANT SET ON PARAMETER totp.clock TO mover;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
"""


class Mover(Traveller):
    """Imports, and then tries the codes of the people who moved."""

    def import_(self, function, **arguments):
        """The rows that an import returns, by account."""
        arguments = {"reason": "moved from elsewhere", **arguments}
        named = ", ".join(f"{name} => %s{cast_of(name)}" for name in arguments)
        query = f"SELECT * FROM totp.import_{function}({named})"
        rows = self.rows(query, *arguments.values())
        assert len({row.account for row in rows}) == len(rows) or None in {r.account for r in rows}
        return {row.account: row for row in rows}

    def stored(self):
        """All that the tables have of factors, apart from ciphertexts."""
        return self.rows("SELECT * FROM totp.factor_status ORDER BY account, label")


def cast_of(name):
    """What makes an argument the right one of several functions of a name."""
    return "::regclass" if name.endswith("table") or name == "source" else ""


@contextmanager
def moving(cluster, dbname):
    """A mover, connected to a database with the extension."""
    cluster.execute(ROLE, dbname=dbname)
    with cluster.connect("mover", dbname) as connection:
        yield Mover(connection)


@contextmanager
def place_to_move_to(cluster):
    """A database with the extension, gone afterwards; and a mover in it."""
    name = f"moving_{secrets.token_hex(4)}"
    with cluster.database(name):
        install(cluster, name)
        with moving(cluster, name) as mover:
            yield name, mover


def assert_app_works(mover, account, uri, spent=None, drift=0):
    """A code that was spent there is refused; the next one, by pyotp, is accepted once."""
    app = pyotp.parse_uri(uri)
    moment = mover.now
    if spent is not None:
        assert mover.verify(account, spent) is False
        mover.execute("SELECT totp.totp_unlock(%s, 'the test goes on')", account)
    mover.wait(2 * app.interval)
    code = app.generate_otp(int(mover.now // app.interval) + drift)
    assert mover.verify(account, code) is True
    assert mover.verify(account, code) is False
    mover.execute("SELECT totp.totp_unlock(%s, 'the test goes on')", account)
    mover.travel(moment)
