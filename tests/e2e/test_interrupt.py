"""A run of these tests that is interrupted or terminated cleans up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import until

pytestmark = pytest.mark.once
HERE = Path(__file__).parent
TEST = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def server():
    Path("started").touch()
    yield
    Path("stopped").touch()

def test_that_takes_long(server):
    time.sleep(600)
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fixtures_end_when_a_run_is_ended(tmp_path, number):
    (tmp_path / "test_file.py").write_text(TEST)
    # Without a turn of its own: this test has one.
    environment = {**os.environ, "PYTHONPATH": str(HERE), "TOTP_ALONE": ""}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", os.devnull, tmp_path]
    run = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        until((tmp_path / "started").exists, timeout=60, what="the test")
        run.send_signal(number)
        assert run.wait(60) == pytest.ExitCode.INTERRUPTED
    finally:
        run.kill()
        run.wait()
    assert (tmp_path / "stopped").exists()
