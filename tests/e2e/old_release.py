"""The scripts of earlier releases, which an installation does not include."""

import os
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cluster import PG_CONFIG, ROOT

RELEASES = ROOT / "sql" / "releases"


def versions():
    """The released versions, the oldest first."""
    names = [file.stem.removeprefix("totp--") for file in RELEASES.glob("totp--*.sql")]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def extension_directory():
    share = subprocess.check_output([PG_CONFIG, "--sharedir"], text=True).strip()
    return Path(share) / "extension"


@contextmanager
def script(name, text):
    """A script in the directory of extensions, for a while."""
    file = extension_directory() / name
    sudo = [] if os.access(file.parent, os.W_OK) else ["sudo"]
    assert not file.exists(), f"{file} is left of another build"
    subprocess.run(
        [*sudo, "tee", file], input=text, text=True, stdout=subprocess.DEVNULL, check=True
    )
    try:
        yield
    finally:
        subprocess.run([*sudo, "rm", file], check=True)


@contextmanager
def scripts():
    """The scripts of all releases, so that CREATE EXTENSION can install each."""
    with ExitStack() as stack:
        for file in RELEASES.glob("totp--*.sql"):
            stack.enter_context(script(file.name, file.read_text()))
        yield
