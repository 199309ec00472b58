"""docs/postgrest.md, tried as it is written: its requests, its scripts, its tables."""

import json
import os
import re
import subprocess
import time

import pytest

from authenticator import Authenticator
from client import Client
from conftest import DATABASE
from pgrst_http import served
from web import JS_BLOCKS, PAGE, SH_BLOCKS, Browser, Web


@pytest.fixture(scope="module")
def web():
    with Web() as web:
        yield web


@pytest.fixture
def browser(web):
    server = web.server()
    yield Browser(web, server)
    server.connection.close()


def run(*command, **variables):
    """What a program prints, when it succeeds, as JSON."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_requests_of_curl_do_what_the_page_says(web, browser):
    with (
        served(browser.server) as api,
        web.connect("app", DATABASE) as connection,
    ):

        def curl(block, token=browser.token, **variables):
            command = block.replace("curl ", "curl --silent --show-error ", 1)
            return run("bash", "-c", command, API=api, TOKEN=token, **variables)

        status, create, confirm, verify, answer = SH_BLOCKS
        assert curl(status)["enabled"] is False
        phone = Authenticator(curl(create)["uri"])
        assert phone.totp.issuer == "Acme"
        confirmed = curl(confirm, CODE=phone.take(time.time()))
        assert confirmed["confirmed"] is True
        codes = confirmed["backup_codes"]
        later = web.token(browser.account)
        assert curl(status, later)["verified"] is False
        assert curl(verify, later, CODE=codes[0])["verified"] is True
        challenge = Client(connection).challenge(browser.account, binding="a cookie")
        login = {"CHALLENGE": challenge, "CODE": codes[1], "COOKIE": "a cookie"}
        assert curl(answer, **login)["access_token"]


def test_the_scripts_for_the_browser_do_what_the_page_says(web, browser):
    function, enrol, status = JS_BLOCKS
    with served(browser.server) as api:

        def node(script, **values):
            values = {"api": api, "token": browser.token, **values}
            text = "".join(f"const {name} = {json.dumps(values[name])};\n" for name in values)
            return run("node", "--input-type=module", "-e", text + script)

        create, confirm = (line for line in enrol.splitlines() if line.startswith("const"))
        shown = node(f"{function}{create}\nconsole.log(JSON.stringify({{ uri, qr_svg }}));")
        assert shown["qr_svg"].startswith("<svg")
        code = Authenticator(shown["uri"]).take(time.time())
        show = "\nconsole.log(JSON.stringify({ confirmed, backup_codes, reason }));"
        confirmed = node(function + confirm + show, code=code)
        assert (confirmed["confirmed"], confirmed["reason"]) == (True, "ok")
        shown = node(f"{status}console.log(JSON.stringify(status));")
        assert (shown["enabled"], shown["verified"]) == (True, True)
        refused = f"{function}try {{ await callTotp('totp_create', {{ label: '' }}); }}"
        refused += "catch (error) { console.log(JSON.stringify({ ...error })); }"
        assert node(refused)["code"] == "22023"


def rows(heading):
    """The cells of the first table below a heading."""
    table = PAGE.partition(f"\n## {heading}\n")[2].partition("\n|")[2].partition("\n\n")[0]
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.split("\n")]


def names(cell):
    return re.findall(r"`(\w+)`", cell)


def test_the_table_of_functions_is_that_of_the_catalog(web):
    query = """
        SELECT proname, coalesce(proargnames[1 : pronargs], '{}') AS parameters,
            coalesce(nullif(proargnames[pronargs + 1 :], '{}'),
                     (SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                      WHERE attrelid = typrelid AND attnum > 0)) AS results
        FROM pg_proc JOIN pg_type AS t ON t.oid = prorettype
        WHERE pronamespace = 'totp_api'::regnamespace
    """
    verdict = names(re.search(r"^A verdict is (.*)$", PAGE, re.MULTILINE).group(1))
    with web.connect(dbname=DATABASE) as connection:
        there = {row.proname: row for row in connection.execute(query)}
    listed = [row for row in rows("The functions") if names(row[0])]
    assert {names(row[0])[0] for row in listed} == there.keys()
    for function, body, answer, *_ in listed:
        row = there[names(function)[0]]
        assert set(names(body)) == set(row.parameters), function
        results = set(names(answer)) | (set(verdict) if "a verdict" in answer else set())
        assert results == set(row.results), function


def test_the_table_of_statuses_has_all_that_the_functions_raise(web):
    """Their comments list the errors."""
    query = """
        SELECT obj_description(oid, 'pg_proc') FROM pg_proc
        WHERE pronamespace = 'totp_api'::regnamespace
    """
    with web.connect(dbname=DATABASE) as connection:
        comments = [row[0] for row in connection.execute(query)]
    raised = {code for text in comments for code in re.findall(r"\b[0-9A-Z]{5}\b", text)}
    listed = {code for row in rows("Statuses") for code in re.findall(r"\b[0-9A-Z]{5}\b", row[1])}
    assert raised and raised <= listed, raised - listed
