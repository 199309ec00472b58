"""What the time that an attempt takes must not tell: whether an account exists, and how much of a
code is right."""

from contextlib import closing

import pytest

from client import Client
from cluster import Cluster
from conftest import install, new_account
from forge import forge
from timing import assert_alike

pytestmark = pytest.mark.alone

DURABLE_TURNS = 300
# What hides in the noise of a network, where the disk is so fast that a tenth is less.
DURABLE = {"share": 0.1, "unseen": 0.0002}
TURNS = 90
# The same for a server that does not wait for its disk.
FAST = {"share": 0.3, "unseen": 0.0003}
# Below what locks, which is answered faster.
GUESSES = 3


@pytest.fixture(scope="module")
def durable():
    """A cluster that waits for its disk, as one that is in use does."""
    with Cluster(settings={"fsync": "on", "autovacuum": "off"}) as cluster:
        install(cluster, "postgres")
        with closing(cluster.connect()) as connection:
            # The first account creates the decoys.
            Client(connection).create(new_account())
        yield cluster


@pytest.mark.parametrize(
    "function, code",
    [("totp_verify", "1234567"), ("backup_verify", "0000-0000-0000-0000")],
)
def test_known_and_unknown_accounts_take_about_the_same_time(durable, function, code):
    with closing(durable.connect()) as connection:
        client = Client(connection)

        def attempt(account):
            assert client.value(f"SELECT totp.{function}(%s, %s)", account, code) is False

        def prepare():
            name = new_account()
            known = [f"{name}-{n}" for n in range(DURABLE_TURNS)]
            unknown = [f"un{account}" for account in known]
            forge(durable, "postgres", known)
            attempt(known[0])
            return lambda turn: attempt(known[turn]), lambda turn: attempt(unknown[turn])

        assert_alike(prepare, DURABLE_TURNS, **DURABLE)


def test_the_time_of_a_guess_does_not_tell_who_is_enrolled(app):
    """The same where nobody waits for a disk: the work itself shows."""

    def prepare():
        known = [app.enrol(new_account()) for _ in range(TURNS // GUESSES)]
        wrong = [person.phone.wrong(app.now) for person in known]
        unknown = [new_account() for _ in range(TURNS)]

        def guess_known(turn):
            place = turn % len(known)
            assert app.verify(known[place].account, wrong[place]) is False

        def guess_unknown(turn):
            assert app.verify(unknown[turn], wrong[0]) is False

        return guess_known, guess_unknown

    assert_alike(prepare, TURNS, **FAST)


def test_the_time_of_a_wrong_code_does_not_tell_how_much_of_it_is_right(app):
    """A comparison that stops at the first digit that differs, or at the step that matches."""

    def guesser(changed):
        """Guesses with one digit changed, for people of its own."""
        guesses = []
        for _ in range(TURNS // 2 // GUESSES):
            person = app.enrol(new_account())
            digits = list(person.phone.code(app.now, 1))
            digits[changed] = str((int(digits[changed]) + 5) % 10)
            guesses.append((person.account, "".join(digits)))

        def guess(turn):
            assert app.verify(*guesses[turn % len(guesses)]) is False

        return guess

    assert_alike(lambda: (guesser(0), guesser(-1)), TURNS // 2, **FAST)
