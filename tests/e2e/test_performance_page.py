"""docs/performance.md has the figures of the benchmark, and says which run they are of."""

import re
from datetime import datetime

from cluster import ROOT

PAGE = (ROOT / "docs/performance.md").read_text()
RESULTS = (ROOT / "benches/results.md").read_text()
# What the page calls a test or a ratio of the benchmark.
TESTS = {
    "a correct code (`totp_verify`)": "right code",
    "a correct code, sync": "right code, sync",
    "an attempt on a locked account": "locked",
    "`challenge_create` and `challenge_verify` together": "challenge",
    "the same, sync": "challenge, sync",
    "a forged challenge": "forged challenge",
    "a forged token of a trusted device": "forged device",
    "`totp_check`, which only computes": "check",
}
RATIOS = {
    "a correct code : a hand-written statement that spends it": (
        "right code : hand-written statement"
    ),
    "a correct code : a bare UPDATE of the row": "right code : bare UPDATE",
    "a correct code : a bare UPDATE, both sync": "right code : bare UPDATE, both synchronous",
    "`totp_check` : a recipe in PL/pgSQL, 100 checks per statement": "totp_check : PL/pgSQL recipe",
    "`totp_check` : a recipe in PL/pgSQL, one check per statement": (
        "totp_check : recipe, one per statement"
    ),
    "`totp_check` : as pgpm/totp computes it": "totp_check : as pgpm/totp does it",
    "a correct code by psycopg : django-totp's check, which writes nothing": (
        "right code by psycopg : django-totp's verify"
    ),
    "with shared memory : without it": "with guard : without guard",
    "with the audit trail : without it": "audit all : audit off",
    "10,000,000 accounts : 200,000 accounts": "10,000,000 accounts : 200,000 accounts",
}


def table(text, header):
    """The second cell of each row, by the first."""
    body = text.partition(f"| {header} |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in body.splitlines() if line.startswith("| ")]
    return {cells[0].removeprefix("| "): cells[1].removesuffix(" |") for cells in rows}


def test_the_figures_are_those_of_the_benchmark():
    measured = table(RESULTS, "test")
    shown = table(PAGE, "Call")
    assert shown == {name: measured[test] for name, test in TESTS.items()}


def test_the_ratios_are_those_of_the_benchmark():
    measured = table(RESULTS, "ratio")
    shown = table(PAGE, "Compared")
    assert shown == {name: measured[ratio] for name, ratio in RATIOS.items()}


def test_the_readme_rounds_the_figures_down():
    measured = table(RESULTS, "test")
    readme = (
        (ROOT / "README.md").read_text().partition("\n## Performance\n")[2].partition("\n## ")[0]
    )
    named = ("right code, sync", "right code", "statement, sync", "statement")
    rates = [int(measured[test].replace(",", "")) for test in named]
    assert re.findall(r"\d+,\d{3}", readme) == [f"{rate // 100 * 100:,}" for rate in rates]


def test_the_run_is_named():
    setup = table(RESULTS, "setup")
    date = datetime.strptime(setup["date"], "%Y-%m-%d")
    assert f"{date.day} {date:%B %Y}" in PAGE
    assert setup["extension"].removeprefix("totp ") in PAGE
    assert re.search(rf"\b{setup['accounts']} accounts", PAGE)
    assert f"{table(RESULTS, 'figure')['WAL of a login']} of WAL" in " ".join(PAGE.split())
