"""Jumps of the server's clock, and what they must not change."""

from datetime import UTC, datetime

from client import Traveller

HOUR, DAY = 3600, 86400
START = Traveller.START
JUMPS = {
    "an hour on": START + HOUR,
    "an hour back": START - HOUR,
    "a day on": START + DAY,
    "a day back": START - DAY,
    "to 1970": 90,
    "to 2106": datetime(2106, 2, 7, 6, 28, 20, tzinfo=UTC).timestamp(),
}


def assert_nothing_revives(traveller, account, there, meanwhile=lambda: None):
    """The clock jumps, and comes back after `meanwhile`: what was spent before or there stays spent."""
    person = traveller.enrol(account)
    phone = person.phone
    traveller.wait(60)
    before, spent = traveller.now, phone.take(traveller.now)
    assert traveller.verify(account, spent)
    traveller.travel(there)
    assert not traveller.verify(account, spent)
    # Ahead, codes of that time are good. Back, they are older than the one that was spent.
    assert traveller.verify(account, phone.code(there)) is (there > before)
    assert traveller.backup_verify(account, person.backup_codes[0])
    meanwhile()
    traveller.travel(before)
    assert not traveller.verify(account, spent)
    assert not traveller.backup_verify(account, person.backup_codes[0])
    assert traveller.backup_verify(account, person.backup_codes[1])
    # Whoever logged in while the clock was ahead has to wait until that time.
    assert traveller.verify(account, phone.code(before, 1)) is (there < before)
