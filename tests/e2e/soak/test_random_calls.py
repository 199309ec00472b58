"""A million calls of every function with random arguments: no crash, and no internal error.

TOTP_CALLS is the number of calls.
"""

import json
import os
import re
import time
from collections import Counter, defaultdict, deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

import figures
from authenticator import Authenticator
from client import Client
from cluster import Cluster
from conftest import install
from test_random_argument import INTEGERS, MOMENTS, OBJECTS, SPANS, random_text

CALLS = int(os.environ.get("TOTP_CALLS", "1000000"))
PROCESSES = 2
REPORT_EVERY = 10_000
DATABASE = "postgres"
ROLES = """
CREATE ROLE caller LOGIN IN ROLE totp_app, totp_admin, totp_auditor, totp_user;
ALTER ROLE caller SET totp.jwt_logins = 'caller';
ALTER ROLE caller SET totp.lock_timeout = '2s';
ALTER ROLE caller SET statement_timeout = '60s';
"""
# Everything that the role may call. Triggers cannot be called.
FUNCTIONS = """
SELECT pronamespace::regnamespace::text AS schema, proname AS name, prokind::text AS kind,
    coalesce(proargnames[1:pronargs], '{}') AS names, proargtypes::regtype[]::text[] AS types
FROM pg_proc
WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
    AND prokind IN ('f', 'p') AND prorettype <> 'trigger'::regtype
    AND has_function_privilege('caller', oid, 'EXECUTE')
ORDER BY pronamespace, proname, pronargs
"""
URI = re.compile(r"otpauth://totp/.*[?&]secret=[A-Z2-7]{32}")
ACCOUNTS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"]
WORDS = {
    "reason": ["asked for by a test", "lost phone"],
    "label": ["default", "phone", None],
    "purpose": ["login", "payment", None],
    "action": ["transfer", "totp_export"],
    "algorithm": ["SHA1", "SHA256", "SHA512"],
    "digits": [6, 8],
    "period": [30],
    "source": ["totp.accounts", "pg_class", None],
}


@dataclass
class Function:
    schema: str
    name: str
    kind: str
    names: list
    types: list


class Caller:
    """A session that calls functions, with values that earlier calls have returned among others."""

    def __init__(self, connection, functions, seed):
        self.connection, self.functions, self.dice = connection, functions, Random(seed)
        self.returned = defaultdict(lambda: deque(maxlen=64))
        self.phones = {}

    def call(self):
        """Calls a function; the SQLSTATE, and what was called."""
        function = self.dice.choice(self.functions)
        arguments = self.arguments(function)
        if self.dice.random() < 0.02:
            self.change_session()
        command = "CALL {}({})" if function.kind == "p" else "SELECT * FROM {}({})"
        named = [
            sql.SQL("{} => {}::{}").format(
                sql.Identifier(name), sql.Placeholder(name), sql.SQL(types)
            )
            for name, types in zip(function.names, function.types, strict=True)
            if name in arguments
        ]
        query = sql.SQL(command).format(
            sql.Identifier(function.schema, function.name), sql.SQL(", ").join(named)
        )
        try:
            cursor = self.connection.execute(query, arguments)
        except psycopg.Error as error:
            return error.sqlstate, (function.name, arguments, str(error))
        if cursor.description:
            for row in cursor.fetchmany(5):
                self.remember(row, arguments)
        return "00000", (function.name, arguments, "")

    def remember(self, row, arguments):
        for value in row:
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, str) and 0 < len(item) < 2000:
                    self.returned["text"].append(item)
                    # Others only repeat an argument, or have a secret that pyotp finds too short.
                    if URI.match(item) and arguments.get("account"):
                        self.phones[arguments["account"]] = Authenticator(item)
                elif isinstance(item, UUID):
                    self.returned["uuid"].append(str(item))
                elif isinstance(item, dict):
                    self.returned["jsonb"].append(json.dumps(item, default=str))

    def arguments(self, function):
        chosen = {}
        for name, kind in zip(function.names, function.types, strict=True):
            # Some are left to their defaults; where there is none, the call is an error.
            if self.dice.random() < 0.9:
                chosen[name] = self.value(name, kind, chosen)
        return chosen

    def value(self, name, kind, chosen):
        dice = self.dice
        if dice.random() < 0.8:
            if name in ("account", "new_account", "approver"):
                return dice.choice(ACCOUNTS)
            if name == "code" and (phone := self.phones.get(chosen.get("account"))):
                return phone.code(time.time(), dice.choice([-1, 0, 0, 0, 1]))
            if name in WORDS:
                return dice.choice(WORDS[name])
        if kind.endswith("[]"):
            return [self.value("", kind[:-2], chosen) for _ in range(dice.randrange(4))]
        if self.returned[kind] and dice.random() < 0.5:
            return dice.choice(self.returned[kind])
        others = {
            "integer": INTEGERS,
            "bigint": INTEGERS,
            "boolean": [None, True, False],
            "timestamp with time zone": MOMENTS,
            "interval": SPANS,
            "uuid": [None, str(uuid4())],
            "jsonb": OBJECTS,
            "regclass": ["totp.accounts", "totp.audit_events", "pg_class", None],
        }
        if kind in others:
            return dice.choice(others[kind])
        text = random_text(dice)
        # What PostgreSQL itself refuses reaches no function.
        return text if text is None else text.replace("\0", "")

    def change_session(self):
        """Becomes somebody else, or nobody."""
        claims = {"sub": self.dice.choice(ACCOUNTS), "session_id": str(uuid4()), "aal": "aal2"}
        self.connection.execute(
            "SELECT set_config('request.jwt.claims', %s, false)",
            [self.dice.choice(["", json.dumps(claims)])],
        )


def work(address, functions, seed, calls):
    """Makes calls in a process of its own; how often each SQLSTATE came, and what was wrong."""
    found, wrong = Counter(), []
    options = {**address, "user": "caller", "dbname": DATABASE, "autocommit": True}
    with closing(psycopg.connect(**options)) as connection:
        caller = Caller(connection, functions, seed)
        for number in range(1, calls + 1):
            state, call = caller.call()
            found[state] += 1
            # No SQLSTATE: the connection is lost. XX: an internal error. 57014: it took a minute.
            if state is None or state.startswith("XX") or state == "57014":
                wrong.append((state, *call))
                if state is None:
                    break
            if number % REPORT_EVERY == 0:
                print(f"{number:,} calls, {dict(found)}", flush=True)
    return found, wrong


@pytest.mark.timeout(CALLS // 50 + 60)
def test_random_calls_crash_nothing_and_are_no_internal_error(dice):
    settings = {"synchronous_commit": "off"}
    with Cluster(settings=settings) as cluster:
        install(cluster, DATABASE)
        cluster.execute(ROLES)
        with closing(cluster.connect()) as connection:
            functions = Client(connection).rows(FUNCTIONS)
            version = connection.info.server_version // 10_000
        assert len(functions) > 100
        functions = [Function(*function) for function in functions]
        seeds = [dice.getrandbits(32) for _ in range(PROCESSES)]
        with ProcessPoolExecutor(PROCESSES) as pool:
            running = [
                pool.submit(work, cluster.address, functions, seed, CALLS // PROCESSES)
                for seed in seeds
            ]
            results = [future.result() for future in running]
        found = sum((counts for counts, _ in results), Counter())
        assert [case for _, wrong in results for case in wrong] == []
        assert not re.search(r"PANIC:  |panicked at|was terminated by", cluster.log)
    assert found["00000"] > found.total() // 10
    figures.record(
        f"Random calls, PostgreSQL {version}",
        does="every function and procedure that a role with all rights may call, with random"
        " arguments and with values that earlier calls returned",
        ran=f"{found.total():,} calls of {len(functions)} functions, {found['00000']:,} succeeded",
        lost="nothing; no crash, no internal error",
        again=f"TOTP_CALLS={CALLS} pytest tests/e2e/soak/test_random_calls.py",
    )
