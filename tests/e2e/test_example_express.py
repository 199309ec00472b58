"""The JSON API of examples/node-express, called as a page would."""

import json
import os
import re
import shutil
import subprocess
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from authenticator import Authenticator
from cluster import ROOT
from conftest import install

pytestmark = pytest.mark.once

EXAMPLE = ROOT / "examples/node-express"
NODE = ROOT / "tests/e2e/node"
ALICE = {"email": "alice@example.com", "password": "correct horse battery"}


class Page:
    """A page with its cookie."""

    def __init__(self, url):
        self.url, self.cookie = url, ""

    def send(self, path, content="application/json", **body):
        """Status, headers and JSON of a POST."""
        headers = {"Content-Type": content, "Cookie": self.cookie}
        return self._open(Request(self.url + path, json.dumps(body).encode(), headers))

    def read(self, path):
        return self._open(Request(self.url + path, headers={"Cookie": self.cookie}))

    def _open(self, request):
        try:
            answer = urlopen(request, timeout=50)
        except HTTPError as error:
            answer = error
        with answer:
            if cookie := answer.headers["Set-Cookie"]:
                assert {"HttpOnly", "Secure", "SameSite=Strict"} <= set(cookie.split("; "))
                self.cookie = cookie.partition(";")[0]
            text = answer.read()
            is_json = "json" in (answer.headers["Content-Type"] or "")
            return answer.status, answer.headers, json.loads(text) if is_json else None


@pytest.fixture
def page(cluster, tmp_path):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    with cluster.database("express"):
        install(cluster, "express")
        cluster.execute((EXAMPLE / "schema.sql").read_text(), dbname="express")
        variables = {**cluster.variables, "PGUSER": "express", "PGDATABASE": "express"}
        with subprocess.Popen(
            ["node", "server.mjs"],
            cwd=tmp_path,
            env={**os.environ, **variables, "PORT": "0"},
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                (port,) = re.findall(r"listening on (\d+)", server.stdout.readline())
                yield Page(f"http://127.0.0.1:{port}")
            finally:
                server.kill()
    cluster.execute("DROP ROLE express")


def test_a_login_takes_the_password_and_a_code(page):
    assert page.send("/signup", **ALICE)[0] == 201
    assert page.send("/confirm", code="000000")[0] == 409, "there is nothing to confirm yet"
    phone = Authenticator(page.send("/enrol")[2]["uri"])
    assert phone.totp.name == ALICE["email"]
    _, _, confirmed = page.send("/confirm", code=phone.take(time.time()))
    assert confirmed["confirmed"] and len(confirmed["backup_codes"]) == 10
    assert page.send("/enrol")[0] == 403, "another app needs a code of the first"
    assert page.send("/login", "text/plain", **ALICE)[0] == 415
    assert page.send("/login", **{**ALICE, "password": "wrong"})[0] == 401
    assert page.send("/login", **ALICE)[2] == {"next": "code"}
    assert page.read("/me")[0] == 401, "the password alone is not enough"
    assert page.send("/code", code=phone.wrong(time.time()))[2] == {"error": "invalid"}
    assert page.send("/code", code=phone.take(time.time()))[2] == {"next": "home"}
    assert page.read("/me")[2] == {"enabled": True, "backup_codes_left": 10}
    page.send("/login", **ALICE)
    for _ in range(5):
        status, headers, _ = page.send("/code", code=phone.wrong(time.time()))
    assert status == 429 and 0 < int(headers["Retry-After"]) <= 30
