"""PgBouncer in front of a cluster: many clients share few sessions of the server."""

import os
import re
import shutil
import subprocess

import psycopg
from psycopg.rows import namedtuple_row

from cluster import new_directory, until

SETTINGS = """
[databases]
pool = host={host} port={port} dbname={dbname} user=app

[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {directory}
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = {clients}
server_reset_query = DISCARD ALL
server_reset_query_always = 1
"""


class Pooler:
    """`with Pooler(...) as pooler:` runs it for a while."""

    def __init__(self, cluster, dbname, mode="transaction", sessions=2, clients=100):
        self.program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert self.program, "pgbouncer is missing: install the package of that name"
        self.directory = new_directory()
        self.owner = cluster.owner if os.geteuid() == 0 else None
        options = {"mode": mode, "sessions": sessions, "clients": clients}
        settings = SETTINGS.format(
            directory=self.directory, dbname=dbname, **options, **cluster.address
        )
        if self.has_prepared_statements:
            settings += "max_prepared_statements = 100\n"
        self.settings = self.directory / "pgbouncer.ini"
        self.settings.write_text(settings)
        if self.owner is not None:
            os.chown(self.directory, self.owner, -1)

    def __enter__(self):
        with (self.directory / "log").open("w") as log:
            command = [self.program, self.settings]
            self.process = subprocess.Popen(command, user=self.owner, stdout=log, stderr=log)
        try:
            until(self.is_ready, what="pgbouncer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.directory)

    def is_ready(self):
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def has_prepared_statements(self):
        """Since 1.21, it prepares statements of clients in transaction mode."""
        output = subprocess.check_output([self.program, "--version"], text=True)
        return tuple(map(int, re.search(r"(\d+)\.(\d+)", output).groups())) >= (1, 21)

    def connect(self, prepare_threshold=None):
        """A new client. It prepares statements after as many uses; None for never."""
        return psycopg.connect(
            host=self.directory,
            port=6432,
            dbname="pool",
            user="anybody",
            autocommit=True,
            prepare_threshold=prepare_threshold,
            row_factory=namedtuple_row,
        )
