"""The programs of examples/clients: a yes is a yes and a no is a no in every language's driver."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import ROOT
from conftest import DATABASE

pytestmark = pytest.mark.once

CLIENTS = ROOT / "examples/clients"
NODE = ROOT / "tests/e2e/node"
JDBC = Path("/usr/share/java/postgresql.jar")
# Each with what must work for it to run.
PROGRAMS = {
    "two_factor.py": ([sys.executable], ["-c", "import psycopg"]),
    "two_factor.mjs": (["node"], ["--version"]),
    "two_factor.rb": (["ruby"], ["-e", "require 'pg'"]),
    "two_factor_pg.php": (["php"], ["-r", "exit((int) !extension_loaded('pgsql'));"]),
    "two_factor_pdo.php": (["php"], ["-r", "exit((int) !extension_loaded('pdo_pgsql'));"]),
    "TwoFactor.java": (["java", "-cp", JDBC], ["--version"]),
}
PRINTED = """\
wrong code confirms: false
backup codes: 10
needs a code: true
wrong code: false
right code: true
backup code: true
same again: false
locked for seconds: """


def is_missing(command, probe):
    if not shutil.which(command[0]) or (JDBC in command and not JDBC.exists()):
        return True
    return subprocess.run([*command, *probe], capture_output=True).returncode != 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_is_right(cluster, app, account, program, tmp_path):
    command, probe = PROGRAMS[program]
    if is_missing(command, probe):
        pytest.skip(f"{command[0]} or its driver is not installed")
    shutil.copytree(CLIENTS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    variables = {**cluster.variables, "PGUSER": "app", "PGDATABASE": DATABASE}
    printed = subprocess.run(
        [*command, tmp_path / program, account],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert printed.returncode == 0, printed.stderr
    told, _, seconds = printed.stdout.rpartition(" ")
    assert f"{told} ".lower() == PRINTED
    assert 0 < int(seconds) <= 30
    status = app.status(account)
    assert status.enabled and status.backup_codes_left == 9 and status.locked_until


def test_every_program_is_run_and_in_the_table():
    table = set(re.findall(r"^\| \[`([^`]+)`\]", (CLIENTS / "README.md").read_text(), re.MULTILINE))
    assert table == set(PROGRAMS)
