"""The clock of the system jumps under a running server; test_fault.py moves `totp.clock` only."""

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authenticator import Authenticator
from client import Client
from cluster import Cluster, new_directory
from conftest import install, new_account

(FAKETIME,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
HOUR, DAY = 3600, 86400
# Three seconds after a step begins: a test is over before the next.
START = datetime(2030, 1, 1, 0, 0, 3, tzinfo=UTC).timestamp()
JUMPS = {
    "an hour on": START + HOUR,
    "an hour back": START - HOUR,
    "a day on": START + DAY,
    "a day back": START - DAY,
    "to 1970": 93,
    "to 2106": datetime(2106, 2, 7, 6, 28, 23, tzinfo=UTC).timestamp(),
}


class Clock:
    """The clock of the servers that are started with it, by libfaketime: it runs, and can be set."""

    def __init__(self, moment):
        self.file = new_directory() / "time"
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }
        self.set(moment)

    def set(self, moment):
        new = self.file.with_name("new")
        new.write_text(datetime.fromtimestamp(moment, UTC).strftime("@%Y-%m-%d %H:%M:%S\n"))
        new.chmod(0o644)
        os.replace(new, self.file)


class Traveller(Client):
    """A client whose server's clock can be set."""

    def __init__(self, connection, clock):
        super().__init__(connection)
        self.clock = clock
        self.travel(START)

    def travel(self, moment):
        self._now = moment
        self.clock.set(moment)

    @property
    def now(self):
        return self._now


@pytest.fixture(scope="module")
def clock():
    # Days before what the tests set, so that only 1970 is before the start of the server.
    clock = Clock(START - 10 * DAY)
    yield clock
    shutil.rmtree(clock.file.parent)


@pytest.fixture(scope="module")
def server(clock):
    with Cluster(environment=clock.environment) as cluster:
        install(cluster, "postgres")
        yield cluster


@pytest.fixture
def traveller(server, clock):
    with closing(server.connect()) as connection:
        yield Traveller(connection, clock)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_there_and_back_revives_no_code(traveller, jump):
    there = JUMPS[jump]
    person = traveller.enrol(new_account())
    account, phone = person.account, person.phone
    before = START + 60
    traveller.travel(before)
    spent = phone.take(before)
    assert traveller.verify(account, spent)
    traveller.travel(there)
    assert abs(traveller.value("SELECT extract(epoch FROM clock_timestamp())::float8") - there) < 20
    assert not traveller.verify(account, spent)
    assert traveller.verify(account, phone.code(there)) is (there > before)
    assert traveller.backup_verify(account, person.backup_codes[0])
    traveller.travel(before)
    assert not traveller.verify(account, spent)
    assert not traveller.backup_verify(account, person.backup_codes[0])
    assert traveller.backup_verify(account, person.backup_codes[1])
    # Whoever logged in while the clock was ahead has to wait until that time.
    assert traveller.verify(account, phone.code(before, 1)) is (there < before)


@pytest.mark.parametrize("jump", JUMPS)
def test_people_enrol_unless_the_clock_is_before_the_start_of_the_server(traveller, jump):
    """Before that time, the server does not know which codes were spent."""
    there = JUMPS[jump]
    traveller.travel(there)
    phone = Authenticator(traveller.create(account := new_account()).uri)
    assert traveller.confirm(account, phone.take(there)).confirmed is (jump != "to 1970")
    traveller.travel(START + 60)
    assert traveller.enrol(new_account()).backup_codes


def test_the_trail_of_all_jumps_verifies(traveller):
    since = traveller.value("SELECT count(*) FROM totp.seal_log")
    for there in (*JUMPS.values(), START):
        traveller.travel(there)
        traveller.create(new_account())
        traveller.value("SELECT totp.audit_seal()")
    (end,) = traveller.rows("SELECT seal, problem FROM totp.audit_verify()")
    assert end.problem is None and end.seal == since + len(JUMPS) + 1
