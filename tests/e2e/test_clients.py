"""The programs of examples/clients: a yes is a yes and a no is a no in every language's driver."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from cluster import ROOT
from conftest import DATABASE

# scripts/setup has built what Go and Rust need; a linker on a busy machine takes its time.
pytestmark = [pytest.mark.once, pytest.mark.timeout(300)]

CLIENTS = ROOT / "examples/clients"
NODE = ROOT / "tests/e2e/node"
BUILT = ROOT / "target/clients"
JDBC = "/usr/share/java/postgresql.jar"
GO = ["env", "GOPATH=/usr/share/gocode", "GO111MODULE=off", f"GOCACHE={BUILT / 'go'}", "go"]
CARGO = ["cargo", "run", "--quiet", "--locked", "--target-dir", BUILT, "--manifest-path"]
# What each is run with. scripts/setup installs all of it: what is missing fails the test.
PROGRAMS = {
    "two_factor.py": [sys.executable, "two_factor.py"],
    "two_factor.mjs": ["node", "two_factor.mjs"],
    "two_factor.rb": ["ruby", "two_factor.rb"],
    "two_factor_pg.php": ["php", "two_factor_pg.php"],
    "two_factor_pdo.php": ["php", "two_factor_pdo.php"],
    "TwoFactor.java": ["java", "-cp", JDBC, "TwoFactor.java"],
    "two_factor.go": [*GO, "run", "two_factor.go"],
    "two_factor.rs": [*CARGO, CLIENTS / "Cargo.toml", "--"],
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_is_right(cluster, app, account, program, tmp_path):
    shutil.copytree(CLIENTS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    variables = {**cluster.variables, "PGUSER": "app", "PGDATABASE": DATABASE}
    printed = subprocess.run(
        [*PROGRAMS[program], account],
        env={**os.environ, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
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
