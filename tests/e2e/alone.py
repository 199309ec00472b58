"""Lets tests that compare times run while no other suite of tests/run does anything.

TOTP_ALONE names the files that the suites lock. Without it, nothing else is expected to run.
"""

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path

PLACE = os.environ.get("TOTP_ALONE")


@contextmanager
def turn(alone, place=PLACE):
    """Waits until nobody is alone, or, to be alone, until nobody else has a turn."""
    if not place:
        yield
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    with open(f"{place}.running", "w") as running:
        # Whoever waits to be alone keeps this, so that the others do not begin again and again.
        with open(f"{place}.next", "w") as following:
            fcntl.flock(following, fcntl.LOCK_EX)
            fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
