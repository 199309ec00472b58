"""What a server process uses."""

import os
import re
from pathlib import Path


def private_memory(pid):
    """What a process has for itself, in kB: no shared buffers, and no code."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)[1])


def processor_seconds(pid):
    """How long a process has run on a processor: other tests and builds may keep it waiting."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
