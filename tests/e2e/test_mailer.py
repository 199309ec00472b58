"""The mailers of examples/events: they tell users what happened, and miss nothing."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from socket import socket
from urllib.error import HTTPError
from urllib.request import Request, urlopen

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
CREATE ROLE app LOGIN IN ROLE totp_app;
GRANT SELECT, UPDATE ON mailer TO mailer;
GRANT SELECT ON users TO mailer;
"""
with socket() as unused:
    unused.bind(("127.0.0.1", 0))
    PORT = unused.getsockname()[1]
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
    settings = {"totp.notify": "on"}
    with Cluster(settings=settings) as cluster:
        install(cluster, "postgres")
        cluster.execute(TABLES)
        program = command(request.param, tmp_path)
        variables = {
            **cluster.variables,
            "PGUSER": "mailer",
            "PGDATABASE": "postgres",
            "SENDMAIL": str(sendmail),
            "NOT_ME_URL": f"http://127.0.0.1:{PORT}/not-me",
            "LINK_SECRET": "0123456789abcdef",
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
        unread = """
            SELECT count(*) FROM totp.events, mailer
            WHERE events.position IS NULL OR events.position > mailer.position"""
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


def request(link, method="GET"):
    """The status and the body of the answer to a request."""
    try:
        with urlopen(Request(link, method=method), timeout=10) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_it_was_not_me_cancels_a_recovery(mailer):
    cluster, start, sent = mailer
    cluster.execute("ALTER DATABASE postgres SET totp.recovery_delay = '1d'")
    start()
    variables = {**os.environ, **cluster.variables, "PGUSER": "app", "PGDATABASE": "postgres"}
    variables["LINK_SECRET"] = "0123456789abcdef"
    page = subprocess.Popen([sys.executable, EXAMPLES / "not_me.py", str(PORT)], env=variables)
    try:
        with closing(cluster.connect("app")) as connection:
            client = Client(connection)
            alice = client.enrol("alice")
            token = client.recovery("alice")
            until(lambda: len(sent()) == 2, timeout=10, what="mail about the link")
            assert not client.recover(token)
            until(lambda: len(sent()) == 3, timeout=10, what="mail about the use of the link")
            enrolled, asked, started = sent()
            assert "call support" in enrolled and "will be turned off" in started
            links = [re.search(r"http\S+", text)[0].rstrip(".") for text in (asked, started)]
            link = links[1]
            until(lambda: is_open(PORT), timeout=10, what="the page")
            # A scanner opens the link, and changes nothing.
            assert "<button>" in request(link)[1]
            assert client.status("alice").recovery_at is not None
            # Nobody changes the account or the time in a link.
            for changed in (
                link.replace("account=alice", "account=bob"),
                re.sub(r"expires=\d+", "expires=9999999999", link),
                link[:-1] + ("0" if link[-1] != "0" else "1"),
                link.partition("?")[0],
            ):
                assert request(changed, "POST")[0] == 404, changed
            assert client.status("alice").recovery_at is not None
            status, text = request(link, "POST")
            assert status == 200 and "stays on" in text
            assert client.status("alice").recovery_at is None and client.is_enabled("alice")
            assert not client.recover(token)
            assert "There is no recovery" in request(links[0], "POST")[1]
            until(lambda: len(sent()) == 4, timeout=10, what="mail about the cancellation")
            assert "stays on" in sent()[3]
            assert client.verify("alice", alice.phone.code(client.now, 1))
    finally:
        page.kill()
        page.wait()


def is_open(port):
    with socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", ["mailer.py", "mailer.mjs"])
def test_a_mailer_is_short_and_knows_only_events_that_exist(name):
    text = (EXAMPLES / name).read_text()
    documented = (ROOT / "docs/events.md").read_text()
    body = text.partition("TEXTS = {")[2].partition("}")[0]
    known = [line.split(":")[0].strip(' "') for line in body.strip().splitlines()]
    assert len(known) == 12 and all(f"`{event}`" in documented for event in known)
