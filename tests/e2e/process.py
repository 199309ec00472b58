"""What a server process uses."""

import os
import re
import time
from pathlib import Path


def private_memory(pid):
    """What a process has for itself, in kB: no shared buffers, and no code."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)[1])


def processor_seconds(pid):
    """How long a process has run on a processor: other tests and builds may keep it waiting."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Measures how long a process takes, its waits for disks and locks included, but not those for a
    processor that others use."""

    def __init__(self, pid):
        self.pid = pid
        self.began, self.delayed = time.monotonic(), self._delayed()

    @property
    def all_seconds(self):
        return time.monotonic() - self.began

    @property
    def seconds(self):
        return self.all_seconds - (self._delayed() - self.delayed)

    def _delayed(self):
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
