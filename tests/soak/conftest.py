"""The soak tests use the clusters and clients of the e2e suite."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from conftest import cluster  # noqa: E402, F401
