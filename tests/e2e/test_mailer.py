"""The mailers of examples/events: they tell users what happened, and miss nothing."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from client import Client
from cluster import ROOT, Cluster, until
from conftest import install

EXAMPLES = ROOT / "examples/events"
NODE = ROOT / "tests/e2e/node"
TABLES = """
CREATE TABLE mailer (position bigint NOT NULL);
INSERT INTO mailer VALUES (0);
CREATE TABLE users (login text PRIMARY KEY, email text);
INSERT INTO users VALUES ('alice', 'alice@example.org'), ('bob', 'bob@example.org');
CREATE ROLE mailer LOGIN IN ROLE totp_auditor;
GRANT SELECT, UPDATE ON mailer TO mailer;
GRANT SELECT ON users TO mailer;
"""
SENDMAIL = """#!/bin/sh
cat > "$MAILS.$$" && mv "$MAILS.$$" "$MAILS/$(date +%s%N)"
"""


def command(kind, directory):
    if kind == "python":
        return [sys.executable, EXAMPLES / "mailer.py"]
    # Modules are found beside the program.
    shutil.copy(EXAMPLES / "mailer.mjs", directory)
    (directory / "node_modules").symlink_to(NODE / "node_modules")
    return ["node", directory / "mailer.mjs"]


@pytest.fixture(params=["python", "node"])
def mailer(request, tmp_path):
    """A function that starts the mailer, and one that returns what it has sent so far."""
    sendmail, mails = tmp_path / "sendmail", tmp_path / "mails"
    sendmail.write_text(SENDMAIL)
    sendmail.chmod(0o755)
    mails.mkdir()
    settings = {"totp.events": "on", "totp.notify": "on"}
    with Cluster(settings=settings) as cluster:
        install(cluster, "postgres")
        cluster.execute(TABLES)
        program = command(request.param, tmp_path)
        variables = {
            **cluster.variables,
            "PGUSER": "mailer",
            "PGDATABASE": "postgres",
            "SENDMAIL": str(sendmail),
            "MAILS": str(mails),
        }
        running = []

        def start():
            running.append(subprocess.Popen(program, env={**os.environ, **variables}))
            return running[-1]

        def sent():
            return [path.read_text() for path in sorted(mails.iterdir())]

        yield cluster, start, sent
        for process in running:
            process.kill()
            process.wait()


def test_users_are_told_what_happened_even_while_the_mailer_was_away(mailer):
    cluster, start, sent = mailer
    with closing(cluster.connect()) as connection:
        client = Client(connection)
        alice = client.enrol("alice")
        client.enrol("somebody without an address")
        process = start()
        until(lambda: len(sent()) == 1, what="the first mail")
        assert client.disable("alice", alice.backup_codes[0])
        until(lambda: len(sent()) == 2, timeout=10, what="mail after a notification")
        # A mail that was sent just before is otherwise sent again.
        unread = "SELECT count(*) FROM totp.events, mailer WHERE events.position > mailer.position"
        until(lambda: client.value(unread) == 0, what="the position of the last mail")
        process.kill()
        process.wait()
        client.enrol("bob")
        client.recovery("bob")
        start()
        until(lambda: len(sent()) == 4, what="mail for what happened meanwhile")
    texts = sent()
    assert [text.splitlines()[0] for text in texts] == [
        *["To: alice@example.org"] * 2,
        *["To: bob@example.org"] * 2,
    ]
    for text, part in zip(
        texts, ["turned on", "turned off", "turned on", "asked for a link"], strict=True
    ):
        assert part in text


@pytest.mark.parametrize("name", ["mailer.py", "mailer.mjs"])
def test_a_mailer_is_short_and_knows_only_events_that_exist(name):
    text = (EXAMPLES / name).read_text()
    documented = (ROOT / "docs/events.md").read_text()
    body = text.partition("TEXTS = {")[2].partition("}")[0]
    known = [line.split(":")[0].strip(' "') for line in body.strip().splitlines()]
    assert len(known) == 10 and all(f"`{event}`" in documented for event in known)
