"""The clock of the system jumps under a running server; test_fault.py moves `totp.clock` only."""

import os
import shutil
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authenticator import Authenticator
from client import Traveller
from cluster import Cluster, new_directory
from conftest import install, new_account
from jump import DAY, JUMPS, START, assert_nothing_revives

(FAKETIME,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")


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


class SystemTraveller(Traveller):
    """A client that moves the system's clock of its server, not totp.clock."""

    def __init__(self, connection, system):
        self.system = system
        super().__init__(connection)

    def travel(self, moment):
        self._now = moment
        self.system.set(moment)


@pytest.fixture(scope="module")
def clock():
    # Days before what the tests set, so that only 1970 is before the start of the server.
    clear()
    clock = Clock(START - 10 * DAY)
    yield clock
    shutil.rmtree(clock.file.parent)
    clear()


def clear():
    """Removes what libfaketime has left of processes that were killed: another one with the same number
    may not start with it."""
    for file in Path("/dev/shm").glob("*faketime_s?m_*"):
        if not Path("/proc", file.name.rpartition("_")[2]).exists():
            # They may be somebody else's.
            with suppress(PermissionError):
                file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def server(clock):
    with Cluster(environment=clock.environment) as cluster:
        install(cluster, "postgres")
        yield cluster


@pytest.fixture
def traveller(server, clock):
    with closing(server.connect()) as connection:
        yield SystemTraveller(connection, clock)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_there_and_back_revives_no_code(traveller, jump):
    there = JUMPS[jump]

    def look():
        seen = traveller.value("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert abs(seen - there) < 20

    assert_nothing_revives(traveller, new_account(), there, look)


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
