"""Many clients that act at the same moment, and codes for them to guess."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from client import Client


def at_once(connect, number, act):
    """Calls act(client, ready, place) for each of many clients, in threads; ready() returns when
    all have called it. Returns what each act returned, or the error that it raised."""
    barrier = Barrier(number, timeout=30)

    def run(place):
        with connect() as connection:
            try:
                return act(Client(connection), barrier.wait, place)
            except Exception as error:
                return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def wrong_codes(person, moment):
    """Well-formed codes, all different, that are wrong even for a clock that is many steps off."""
    near = {person.phone.code(moment, steps) for steps in range(-30, 31)}
    return (code for code in (f"{n:06}" for n in range(1_000_000)) if code not in near)
