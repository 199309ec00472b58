"""docs/from-django-and-rails.md: its code runs with the real packages and their users."""

import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyotp
import pytest
from cryptography.fernet import Fernet

import peer
from authenticator import Authenticator
from cluster import ROOT
from mover import moving, place_to_move_to

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs/from-django-and-rails.md").read_text()
PEERS = ROOT / "tests/peers"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


MODULE, VIEW = blocks("python")
EXPORT, MODEL = blocks("ruby")
STATEMENTS = blocks("sql")


@contextmanager
def calls(cluster, dbname, *command):
    """A program that answers each line of JSON with one."""
    environment = {**os.environ, **cluster.variables, "PGDATABASE": dbname}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as program:

        def call(*values):
            program.stdin.write(json.dumps(values) + "\n")
            program.stdin.flush()
            return json.loads(program.stdout.readline())

        yield call
        program.stdin.close()


@contextmanager
def django(cluster, dbname, directory):
    (directory / "second_factor.py").write_text(MODULE)
    python = ROOT / "target/peers/django-otp/bin/python"
    with calls(cluster, dbname, python, PEERS / "django_second_factor.py", directory) as call:
        yield call


def next_code(uri):
    """The code after the current one, which is in the window and not spent."""
    return pyotp.parse_uri(uri).at(time.time() + 30)


def assert_logs_in(call, user, uri, spent):
    assert call("is_needed", user) is True
    assert call("verify", user, spent)["verified"] is False
    code = next_code(uri)
    assert call("verify", user, code)["verified"] is True
    assert call("verify", user, code)["reason"] == "invalid"


def test_the_module_does_the_whole_job(cluster, other_database, tmp_path):
    cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    with django(cluster, other_database, tmp_path) as call:
        assert call("is_needed", "dora") is False
        enrolled = call("enrol", "dora")
        assert enrolled["qr_svg"].startswith("<svg") and "dora" in enrolled["uri"]
        phone = Authenticator(enrolled["uri"])
        wrong = call("confirm", "dora", "000000")
        assert (wrong["confirmed"], wrong["backup_codes"]) == (False, None)
        confirmed = call("confirm", "dora", phone.take(time.time()))
        assert confirmed["confirmed"] is True
        assert call("is_needed", "dora") is True
        right = call("verify", "dora", phone.take(time.time()))
        assert (right["verified"], right["reason"]) == (True, "ok")
        paper = call("verify", "dora", confirmed["backup_codes"][0])
        assert (paper["verified"], paper["backup_codes_left"]) == (True, 9)


def test_the_view_compiles():
    compile(VIEW, "views.py", "exec")


def test_users_of_django_otp_log_in_with_the_module(cluster, tmp_path):
    with place_to_move_to(cluster) as (name, _):
        person = peer.enrol(cluster, name, "django-otp", time.time())["plain"]
        cluster.execute(STATEMENTS[0], dbname=name)
        with django(cluster, name, tmp_path) as call:
            assert_logs_in(call, person.account, person.uri, person.spent_code)
            assert call("verify", person.account, person.backup_codes[0])["verified"] is True


def test_users_of_django_totp_log_in_with_the_module(cluster, import_directory, tmp_path):
    key = Fernet.generate_key().decode()
    import_directory("django.key", key)
    with place_to_move_to(cluster) as (name, _):
        person = peer.enrol(cluster, name, "django-totp", time.time(), key)["one"]
        cluster.execute(STATEMENTS[1], dbname=name)
        # The last code is not recorded there: codes up to the import are refused.
        with django(cluster, name, tmp_path) as call:
            assert call("verify", person.account, person.spent_code)["verified"] is False
        later = datetime.now(UTC) + timedelta(seconds=120)
        cluster.execute(f"ALTER DATABASE {name} SET totp.clock = '{later.isoformat()}'")
        code = pyotp.parse_uri(person.uri).at(later)
        with django(cluster, name, tmp_path) as call:
            assert call("verify", person.account, code)["verified"] is True
            assert call("verify", person.account, code)["verified"] is False
            assert call("verify", person.account, person.backup_codes[0])["verified"] is True


def test_secrets_of_devise_two_factor_are_imported(cluster, tmp_path):
    export, model = tmp_path / "export_otp.rb", tmp_path / "user.rb"
    export.write_text(EXPORT)
    model.write_text(MODEL)
    with place_to_move_to(cluster) as (name, _):
        enrolled = subprocess.run(
            ["ruby", "-W0", PEERS / "devise-two-factor/enrol.rb", export],
            env={**os.environ, **cluster.variables, "PGDATABASE": name},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        known = json.loads(enrolled.stdout)
        person = SimpleNamespace(**known["people"]["one"])
        assert import_csv(cluster, name, known["csv"]) == []
        command = ["ruby", "-W0", PEERS / "devise-two-factor/login.rb", model]
        with calls(cluster, name, *command) as call:
            assert call("second_factor?", known["people"]["unconfirmed"]["account"]) is False
            assert call("second_factor?", person.account) is True
            assert call("second_factor_ok?", person.account, person.spent_code) is False
            code = next_code(person.uri)
            assert call("second_factor_ok?", person.account, code) is True
            assert call("second_factor_ok?", person.account, code) is False


def import_csv(cluster, dbname, csv):
    """The page's statements, as an administrator: what was not imported."""
    table, copy, select = re.findall(r"[^;]+;", STATEMENTS[2])
    with moving(cluster, dbname) as mover:
        mover.execute(table)
        with mover.connection.cursor() as cursor, cursor.copy(copy) as rows:
            rows.write(csv)
        return mover.rows(select)


@pytest.mark.parametrize("package", ["django_otp", "django_totp"])
def test_what_the_page_says_is_replaced_is_there(package):
    """The names in the left columns are those of the packages."""
    section = PAGE.partition(f"## From {package.replace('_', '-')}\n")[2].partition("\n## ")[0]
    left = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    names = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\b(?=\()", left)) - {"is_verified"}
    venv = ROOT / "target/peers" / package.replace("_", "-")
    sources = venv.glob(f"lib/python3*/site-packages/{package}/**/*.py")
    source = "\n".join(path.read_text() for path in sources)
    assert len(names) > 1
    assert [name for name in sorted(names) if f"def {name}(" not in source] == []
