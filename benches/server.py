"""A throwaway server for the benchmark, managed by scripts/cluster."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLUSTER = HERE.parent / "scripts" / "cluster"
SQL = HERE / "sql"

# No background work and no checkpoints during a measurement.
SETTINGS = {
    "max_connections": "20",
    "autovacuum": "off",
    "checkpoint_timeout": "1d",
    "max_wal_size": "40GB",
    "synchronous_commit": "off",
}


def run(command, **options):
    """Runs a command and returns its output; a failure ends the benchmark."""
    command = [str(part) for part in command]
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


class Server:
    """A separate cluster, with or without totp in shared_preload_libraries."""

    def __init__(self, directory, pg_config, preload, settings):
        self.directory = directory
        self.settings = SETTINGS | settings
        options = [] if preload else ["--no-preload"]
        for setting in self.settings.items():
            options += ["-c", "=".join(setting)]
        run([CLUSTER, "start", directory, "--pg-config", pg_config, *options])
        self.bin = Path(run([pg_config, "--bindir"]).strip())
        exported = shlex.split(run([CLUSTER, "env", directory]))[1:]
        self.environment = dict(item.split("=", 1) for item in exported) | {"LC_ALL": "C"}
        self.background = self.processes()

    def client(self, tool, *arguments, **options):
        """Runs a client program."""
        return run([self.bin / tool, *arguments], env=self.environment, **options)

    def psql(self, database, *arguments, **options):
        """Runs psql, which stops at the first error."""
        quiet = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        return self.client("psql", *quiet, *arguments, **options).strip()

    def sql(self, database, text):
        """Runs SQL, as a superuser."""
        return self.psql(database, "-f", "-", input=text)

    def fill(self, database, accounts, secret):
        """Creates a database with accounts that all have the same secret."""
        self.sql("postgres", f"CREATE DATABASE {database}")
        self.sql(database, "CREATE EXTENSION totp; CREATE EXTENSION pgcrypto")
        self.sql(database, """
            SELECT totp.key_generate() WHERE pg_stat_file('totp.keys', true) IS NULL""")
        variables = {"first": 1, "last": accounts, "secret": secret}
        self.psql(database, *(f"-v{name}={value}" for name, value in variables.items()),
                  "-f", SQL / "fill.sql")

    def wait_for_end(self, role):
        """Waits until all sessions of a role have ended, and their processes. One that has touched
        gigabytes of shared memory takes a while to give them back."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"
        while self.sql("postgres", query) != "0" or self.processes() > self.background:
            time.sleep(0.05)
        # Until the postmaster has noticed.
        time.sleep(0.1)

    @property
    def postmaster(self):
        return (self.directory / "data/postmaster.pid").read_text().split()[0]

    def processes(self):
        """Returns the number of the server's processes."""
        return len(run(["pgrep", "-P", self.postmaster]).split())

    def cpu_seconds(self):
        """Returns the processor time of all server processes that have ended, in seconds."""
        fields = Path(f"/proc/{self.postmaster}/stat").read_text().rpartition(")")[2].split()
        # cutime and cstime, fields 16 and 17 in proc(5).
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def memory_of_backend(self, database, statement):
        """Returns the bytes that a server process does not share, after 1,000 runs of a statement
        with accounts 1 to 1000 as $1."""
        runs = "".join(f"EXECUTE run('{account}');\n" for account in range(1, 1001))
        text = f"""
            PREPARE run(text) AS {statement}
            {runs}
            SELECT pg_backend_pid() AS pid \\gset
            \\setenv PID :pid
            \\! cat /proc/$PID/smaps
        """
        # Mappings start with their addresses and flags; "p" marks private memory.
        own = re.findall(r"^[0-9a-f]+-[0-9a-f]+ ...(.)(?:.|\n)*?^Private_Dirty: +(\d+) kB",
                         self.sql(database, text), re.MULTILINE)
        return sum(int(size) for kind, size in own if kind == "p") * 1024

    def destroy(self):
        """Stops the server and removes its files."""
        run([CLUSTER, "destroy", self.directory])
