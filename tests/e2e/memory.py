"""The memory of server processes."""

import re
from pathlib import Path


def private_memory(pid):
    """What a process has for itself, in kB: no shared buffers, and no code."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)[1])
