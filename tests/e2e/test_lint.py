"""make lint notices what it is there for: each test plants one thing in a copy of the sources."""

import shutil
import subprocess

import pytest

from cluster import ROOT

CHECKS = "imports|domains|pgrx in|unsafe|messages|function"


@pytest.fixture
def copy(tmp_path):
    for name in ("src", "sql", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    for name in ("docs/reference.md", "Cargo.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def lint(copy):
    """The checks that failed, and the whole output."""
    done = subprocess.run(
        [copy / "scripts/lint", CHECKS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert (done.returncode == 0) == (not failed), done.stdout
    return failed, done.stdout


def append(file, text):
    file.write_text(file.read_text() + text)


def test_the_sources_as_they_are_pass(copy):
    failed, output = lint(copy)
    assert not failed, output
    assert output.count("ok  ") == 6, output


PLANTED = {
    "an upward import": ("src/store/token.rs", "use crate::flow::verify;\n", "imports"),
    "an upward path": ("src/store/token.rs", "fn f() { crate::flow::key::ids(); }\n", "imports"),
    "a list of imports": ("src/guard/table.rs", "use crate::{clock, store};\n", "imports"),
    "an import of a file": ("src/clock.rs", "use crate::guard;\n", "imports"),
    "a cycle": ("src/guard/startup.rs", "use super::memory::header;\n", "imports"),
    "a parameter compared with a domain": (
        "src/store/token.rs",
        'const S: &str = "SELECT FROM totp.tokens WHERE account = $1";\n',
        "domains",
    ),
    "a join of domains": (
        "src/store/token.rs",
        'const S: &str = "totp.accounts AS a JOIN totp.tokens AS t ON t.account = a.account";\n',
        "domains",
    ),
    "a server in pure": ("src/pure/qr.rs", "use pgrx::Spi;\n", "pgrx in"),
    "unsafe code": ("src/flow/key.rs", "fn f() { unsafe { g() } }\n", "unsafe"),
    "a notice": ("src/flow/enrol.rs", 'fn f() { pgrx::notice!("enrolled"); }\n', "messages"),
    "a hint": ("src/keys/file.rs", 'fn f() { g().set_hint("Do it."); }\n', "messages"),
    "a function": (
        "src/api/qr.rs",
        "#[pg_extern]\n#[search_path(pg_catalog)]\nfn qr_png(data: &str) -> String {\n",
        "function",
    ),
}


@pytest.mark.parametrize("file, text, check", PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(copy, file, text, check):
    append(copy / file, text)
    (failure,), output = lint(copy)
    assert check in failure, output
    if check in ("imports", "function"):
        assert file in output or "qr_png" in output or "cycle" in output, output


@pytest.mark.parametrize("place", ["sql/functions.sql", "docs/reference.md"])
def test_a_function_that_is_taken_from_a_list_is_found(copy, place):
    text = (copy / place).read_text()
    (copy / place).write_text(text.replace("totp_resync", "totp_other"))
    (failure,), output = lint(copy)
    assert "function" in failure and "totp_resync" in output, output
