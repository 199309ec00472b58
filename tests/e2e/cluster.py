"""A throw-away PostgreSQL cluster with totp: started by scripts/cluster, hurt and observed here."""

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

ROOT = Path(__file__).parents[2]
PG_CONFIG = os.environ.get("PG_CONFIG", "/usr/lib/postgresql/15/bin/pg_config")
SUPERUSER = "postgres"
# A cluster that is killed on purpose loses no file: only the operating system's crash would.
SETTINGS = {"fsync": "off", "max_connections": "200", "max_prepared_transactions": "20"}

# What the log says of a process that went wrong by itself: SIGILL, SIGBUS, SIGFPE or SIGSEGV, or an assertion.
CRASH = re.compile(r"^TRAP: .*|.* was terminated by signal (?:4|7|8|11)\b.*", re.MULTILINE)

# A file system in memory.
MEMORY = "/dev/shm"
MEMORY_NEEDED = 8 * 2**30


def bindir(pg_config=PG_CONFIG):
    """Where the programs of the PostgreSQL under test are."""
    return Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())


def new_directory():
    """A directory that the server's user may enter, with a path short enough for a socket. In memory,
    if there is enough: a start makes a thousand small files. TOTP_CLUSTERS names another place."""
    place = os.environ.get("TOTP_CLUSTERS") or (MEMORY if _has_room(MEMORY) else "/tmp")
    directory = Path(tempfile.mkdtemp(prefix="totp-e2e-", dir=place))
    directory.chmod(0o755)
    return directory


def _has_room(place):
    """Whether a file system has room for all that tests put there, and runs programs."""
    if not os.path.isdir(place):
        return False
    status = os.statvfs(place)
    is_large = status.f_bavail * status.f_frsize >= MEMORY_NEEDED
    return is_large and not status.f_flag & os.ST_NOEXEC


def until(condition, timeout=15.0, what="condition", pause=0.01):
    """Polls until the condition gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not met within {timeout} s")
        time.sleep(pause)


class Cluster:
    """One cluster. `with Cluster() as cluster:` starts it, and destroys it afterwards."""

    def __init__(self, preload=True, settings=None, environment=None, pg_config=PG_CONFIG):
        self.directory = new_directory()
        self.preload = preload
        self.settings = {**SETTINGS, **(settings or {})}
        self.environment = environment or {}
        self.pg_config = pg_config
        self._address = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(self, *_):
        self.destroy()

    # Starting and stopping

    def start(self):
        """Makes the cluster when it is not there, and starts it."""
        arguments = ["--pg-config", self.pg_config]
        if not self.preload:
            arguments.append("--no-preload")
        for name, value in self.settings.items():
            arguments += ["-c", f"{name}={value}"]
        for name, value in self.environment.items():
            arguments += ["--env", f"{name}={value}"]
        self._script("start", *arguments)
        return self

    def stop(self, mode="fast"):
        """Stops the server; its data stay. "immediate" is a crash: the next start recovers."""
        self._script("stop", "-m", mode)

    def restart(self):
        """A clean stop and a start: shared memory is new."""
        self.stop()
        self.start()

    def destroy(self):
        """Stops the server and removes all that belongs to it. None of its processes may have crashed or
        failed an assertion, not even one that no test waits for."""
        failed = CRASH.findall(self.log) if self.log_file.exists() else []
        self._script("destroy")
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not failed, failed

    def kill(self, all_at_once=False):
        """kill -9 of the postmaster, whose children then end by themselves, or of all of them.
        Returns when they and their shared memory are gone."""
        postmaster = self.postmaster_pid
        os.kill(postmaster, signal.SIGSTOP)  # It starts no more children.
        family = [postmaster, *_children(postmaster)]
        for pid in family if all_at_once else [postmaster]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(_is_alive, family)), what="end of the killed server")
        # Until the killed process is reaped, the next server thinks that it is still running.
        socket_directory = Path(self.address["host"])
        for lock in self.data_dir / "postmaster.pid", *socket_directory.glob(".s.PGSQL.*.lock"):
            lock.unlink()

    def kill_backend(self, pid):
        """kill -9 of one server process: the others restart and recover."""
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _is_alive(pid), what="end of the killed backend")

    def wait_until_ready(self, timeout=30.0):
        """Waits until the server lets somebody in, after a crash or a start."""

        def is_ready():
            try:
                self.connect().close()
            except psycopg.OperationalError:
                return False
            return True

        until(is_ready, timeout, "a server that accepts connections")

    @property
    def postmaster_pid(self):
        return int((self.data_dir / "postmaster.pid").read_text().splitlines()[0])

    # Standbys

    def standby(self, settings=None):
        """A running hot standby of this cluster, made by pg_basebackup."""
        merged = {**self.settings, **(settings or {})}
        copy = Cluster(self.preload, merged, self.environment, self.pg_config)
        try:
            os.chown(copy.directory, self.owner, -1)
            self.run("pg_basebackup", "-D", copy.data_dir, "-R", "-X", "stream", "-c", "fast")
            copy.start()
            copy.wait_until_ready()
        except BaseException:
            copy.destroy()
            raise
        return copy

    def promote(self):
        """Makes a standby a primary."""
        self.run("pg_ctl", "-D", self.data_dir, "-w", "promote")

    def wait_for_replay(self, primary):
        """Waits until this standby has replayed all that its primary wrote."""
        with primary.connect() as connection:
            (target,) = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        with self.connect() as connection:
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            until(lambda: connection.execute(query, [target]).fetchone()[0], what="replay")

    # Talking to it

    def connect(self, role=SUPERUSER, dbname="postgres", autocommit=True, **options):
        """A new connection; rows are named tuples."""
        address = {**self.address, "user": role, "dbname": dbname, **options}
        return psycopg.connect(autocommit=autocommit, row_factory=namedtuple_row, **address)

    @property
    def address(self):
        """Host and port, as scripts/cluster names them."""
        if self._address is None:
            names = dict(re.findall(r"(PG[A-Z]+)=(\S+)", self._script("env")))
            host, port = (shlex.split(names[name])[0] for name in ("PGHOST", "PGPORT"))
            self._address = {"host": host, "port": port}
        return self._address

    def execute(self, *statements, dbname="postgres"):
        """Runs statements as superuser, each in a transaction of its own."""
        with self.connect(dbname=dbname) as connection:
            for statement in statements:
                connection.execute(statement)

    def configure(self, **settings):
        """ALTER SYSTEM for each setting, None to reset; returns when new sessions see them.
        The dot of a setting's name is written as two underscores."""
        with self.connect() as connection:
            for name, value in settings.items():
                parameter = sql.SQL(".").join(map(sql.Identifier, name.split("__")))
                change = sql.SQL("ALTER SYSTEM RESET {}").format(parameter)
                if value is not None:
                    change = sql.SQL("ALTER SYSTEM SET {} = {}").format(parameter, value)
                connection.execute(change)
        self.reload()

    def reload(self):
        """Rereads the configuration; returns when it is in force for new sessions."""
        loaded = "SELECT pg_conf_load_time()::text"
        with self.connect() as connection:
            (before,) = connection.execute(loaded).fetchone()
            connection.execute("SELECT pg_reload_conf()")

        def is_loaded():
            with self.connect() as connection:
                return connection.execute(loaded).fetchone()[0] != before

        until(is_loaded, what="reload")

    def new_database(self, name, template="template0"):
        """Makes an empty database and returns its name."""
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    @contextmanager
    def database(self, name):
        """An empty database for a while."""
        yield self.new_database(name)
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    # Looking at it

    @property
    def data_dir(self):
        return self.directory / "data"

    @property
    def log_file(self):
        return self.directory / "log"

    @property
    def log(self):
        """What the server has logged so far."""
        return self.log_file.read_text(errors="replace")

    @property
    def owner(self):
        """The user id that the server runs as."""
        return self.data_dir.stat().st_uid

    # Programs

    def run(self, program, *arguments, text="", **variables):
        """Runs a program of PostgreSQL as the server's user, with a text on its standard input and
        further variables in its environment; its output, when it succeeds."""
        command = [bindir(self.pg_config) / program, *arguments]
        owner = pwd.getpwuid(self.owner) if os.geteuid() == 0 else None
        environment = {**os.environ, **self.variables, **variables}
        return _run(command, owner, input=text, env=environment)

    @property
    def variables(self):
        """What a client program needs in its environment to find this cluster."""
        address = {f"PG{name.upper()}": value for name, value in self.address.items()}
        return {**address, "PGUSER": SUPERUSER, "PGCLIENTENCODING": "UTF8"}

    def _script(self, command, *arguments):
        script = ROOT / "scripts" / "cluster"
        return _run([script, command, self.directory, *arguments], input="")


def _run(command, owner=None, **options):
    identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/tmp",
        timeout=400,
        check=False,
        **identity,
        **options,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
