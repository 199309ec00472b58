"""What tests record for docs/reliability.md: only what they have shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
HERE = Path(__file__).parent
TESTS = """
import figures

def test_that_records():
    figures.record("a test", does="something", ran="once", lost="nothing", again="pytest")

def test_after_it():
    assert {}
"""


@pytest.mark.parametrize("passes", [True, False])
def test_a_row_is_written_if_all_tests_of_its_file_pass(tmp_path, passes):
    (tmp_path / "test_file.py").write_text(TESTS.format(passes))
    table = tmp_path / "table"
    environment = {**os.environ, "PYTHONPATH": str(HERE), "TOTP_FIGURES": str(table)}
    # Without a turn of its own: this test has one.
    environment["TOTP_ALONE"] = ""
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", os.devnull, tmp_path]
    assert subprocess.run(command, env=environment, check=False).returncode == (not passes)
    rows = table.read_text().splitlines() if table.exists() else []
    assert [json.loads(row)["test"] for row in rows] == ["a test"] * passes
