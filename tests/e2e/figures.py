"""What long runs have shown, as lines of JSON in the file that TOTP_FIGURES names.

scripts/reliability makes a table of them.
"""

import json
import os


def record(test, does, ran, lost, again):
    """What a test does, how often it ran, what was lost, and how to run it again."""
    row = {"test": test, "does": does, "ran": ran, "lost": lost, "again": again}
    print(json.dumps(row))
    if file := os.environ.get("TOTP_FIGURES"):
        with open(file, "a") as lines:
            print(json.dumps(row), file=lines)
