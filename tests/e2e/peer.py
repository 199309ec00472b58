"""The systems that can be imported from: the real packages enrol users into a database of the
cluster under test, each in an environment of its own."""

import json
import os
import subprocess
from types import SimpleNamespace

from cluster import ROOT


def enrol(cluster, dbname, name, *arguments):
    """Enrols users with a package, by its own code: what their apps and papers know, by user."""
    directory = ROOT / "tests" / "peers" / name
    if (directory / "enrol.mjs").exists():
        command = ["node", directory / "enrol.mjs"]
    else:
        command = [ROOT / "target" / "peers" / name / "bin" / "python", directory / "enrol.py"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, **cluster.variables, "PGDATABASE": dbname},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {user: SimpleNamespace(**known) for user, known in json.loads(done.stdout).items()}
