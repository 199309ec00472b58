"""What long runs have shown, as lines of JSON in the file that TOTP_FIGURES names.

scripts/reliability makes a table of them.
"""

import json
import os
from contextlib import contextmanager

_held = None


def record(test, does, ran, lost, again):
    """What a test does, how often it ran, what was lost, and how to run it again."""
    row = {"test": test, "does": does, "ran": ran, "lost": lost, "again": again}
    print(json.dumps(row))
    if _held is None:
        _write([row])
    else:
        _held.append(row)


@contextmanager
def held(may_be_written):
    """Holds back what is recorded in the block, and writes it if it may be written at the end."""
    global _held
    _held = rows = []
    try:
        yield
    finally:
        _held = None
    if may_be_written():
        _write(rows)


def _write(rows):
    if file := os.environ.get("TOTP_FIGURES"):
        with open(file, "a") as lines:
            for row in rows:
                print(json.dumps(row), file=lines)
