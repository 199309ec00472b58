"""Whether an account exists must not show in the time that an attempt takes."""

import statistics
import time
from contextlib import closing

import pytest

from client import Client
from cluster import Cluster
from conftest import install, new_account
from forge import forge

ROUNDS = 300
# What hides in the noise of a network, where the disk is so fast that a tenth is less.
UNSEEN = 0.0002


@pytest.fixture(scope="module")
def durable():
    """A cluster that waits for its disk, as one that is in use does."""
    with Cluster(settings={"fsync": "on", "autovacuum": "off"}) as cluster:
        install(cluster, "postgres")
        yield cluster


def took(client, function, account, code):
    begun = time.perf_counter()
    assert client.value(f"SELECT totp.{function}(%s, %s)", account, code) is False
    return time.perf_counter() - begun


@pytest.mark.parametrize(
    "function, code",
    [("totp_verify", "1234567"), ("backup_verify", "0000-0000-0000-0000")],
)
def test_known_and_unknown_accounts_take_about_the_same_time(durable, function, code):
    name = new_account()
    accounts = [f"{name}-{n}" for n in range(ROUNDS)]
    forge(durable, "postgres", accounts)
    times = {True: [], False: []}
    with closing(durable.connect()) as connection:
        client = Client(connection)
        took(client, function, f"{name}-0", code)
        for turn, account in enumerate(accounts):
            # They take turns at going first.
            for is_known in (turn % 2 == 0, turn % 2 == 1):
                tried = account if is_known else f"un{account}"
                times[is_known].append(took(client, function, tried, code))
    known, unknown = statistics.median(times[True]), statistics.median(times[False])
    print(f"{function}: {known * 1e6:.0f} µs against {unknown * 1e6:.0f} µs")
    assert abs(known - unknown) < max(0.1 * unknown, UNSEEN)
