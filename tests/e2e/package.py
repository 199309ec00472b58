"""What scripts/package made, and for which PostgreSQL."""

import re
import subprocess
import tomllib

from cluster import PG_CONFIG, ROOT

PACKAGES = ROOT / "target/packages"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
SERVER = subprocess.check_output([PG_CONFIG, "--version"], text=True)
MAJOR = int(re.match(r"PostgreSQL (\d+)", SERVER)[1])
