"""contrib/config: a server starts with the templates, and check-env finds what is wrong."""

import base64
import configparser
import os
import re
import secrets
import subprocess

import pytest
import yaml

from client import Client
from cluster import ROOT, Cluster

CONFIG = ROOT / "contrib/config"
CONTAINERS = (ROOT / "docs/containers.md").read_text()


@pytest.fixture(scope="module")
def server():
    # Only the template loads the library.
    with Cluster(preload=False) as server:
        yield server


def test_a_server_starts_with_postgresql_conf_and_no_check_fails(server):
    keys = server.directory / "keys"
    keys.mkdir()
    os.chown(keys, server.owner, -1)
    text = (CONFIG / "postgresql.conf").read_text()
    assert text.count("/etc/postgresql/totp.keys") == 1
    text = text.replace("/etc/postgresql/totp.keys", f"{keys}/totp.keys")
    included = server.data_dir / "template.conf"
    included.write_text(text)
    os.chown(included, server.owner, -1)
    with (server.data_dir / "postgresql.conf").open("a") as main:
        main.write("include 'template.conf'\n")
    server.restart()
    server.execute("CREATE EXTENSION totp", "SELECT totp.key_generate()")
    with server.connect() as connection:
        client = Client(connection)
        settings = re.findall(r"^([\w.]+) = '?(.*?)'?$", text, re.MULTILINE)
        assert len(settings) > 5
        for name, value in settings:
            assert client.value("SELECT setting FROM pg_settings WHERE name = %s", name) == value
        found = client.rows("SELECT * FROM totp.preflight() WHERE status <> 'ok'")
    # This suite runs without flushing to the disk.
    assert {row.check_name for row in found} == {"fsync"}


def test_pg_hba_conf_loads_and_allows_no_login_without_tls(server):
    path = server.data_dir / "pg_hba.conf"
    kept = path.read_text()
    try:
        path.write_text((CONFIG / "pg_hba.conf").read_text())
        with server.connect() as connection:
            rules = connection.execute("SELECT * FROM pg_hba_file_rules").fetchall()
    finally:
        path.write_text(kept)
    # The server under test may have no TLS.
    without_tls = "hostssl record cannot match because SSL is"
    assert all(not rule.error or rule.error.startswith(without_tls) for rule in rules), rules
    assert len(rules) == 5
    remote = [rule for rule in rules if rule.type != "local"]
    assert all(rule.type == "hostssl" or rule.auth_method == "reject" for rule in remote)
    assert (remote[-1].type, remote[-1].address) == ("host", "all")


def test_postgrest_conf_is_read_and_fits_the_pages():
    lines = (CONFIG / "postgrest.conf").read_text().splitlines()
    settings = dict(line.split(" = ") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r'"[^"]*"|true|false', value) for value in settings.values())
    # The schema, the roles and the secret are those that docs/postgrest.md sets up.
    page = (ROOT / "docs/postgrest.md").read_text()
    for name in ("db-schemas", "jwt-secret"):
        assert f"{name} = {settings[name]}" in page
    assert settings["db-schemas"] == '"api, totp_api"'
    assert "`anon`" in page and settings["db-anon-role"] == '"anon"'


def test_the_drop_in_for_systemd_is_that_of_the_page():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(CONFIG / "totp-credential.conf")
    service = parser["Service"]
    assert set(service) == {"LoadCredential", "ExecStartPre"}
    for name, value in service.items():
        assert f"{name}={value}" in CONTAINERS
    place = "/run/postgresql/%i.keys".replace("%i", "15-main")
    assert place in (CONFIG / "totp-credential.conf").read_text() and place in CONTAINERS


def test_kubernetes_mounts_the_key_where_the_server_reads_it():
    secret, pod = yaml.safe_load_all((CONFIG / "kubernetes.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    (volume,), (mount,) = pod["spec"]["volumes"], container["volumeMounts"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert volume["name"] == mount["name"]
    (file,) = secret["stringData"]
    assert f"totp.key_file={mount['mountPath']}/{file}" in container["args"]
    assert "shared_preload_libraries=totp" in container["args"]
    # What docs/containers.md says is accepted: root's file, which the group may read.
    assert volume["secret"]["defaultMode"] == 0o440 and pod["spec"]["securityContext"]["fsGroup"]


GOOD = {
    "TOTP_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "PGHOST": "db",
    "PGDATABASE": "app",
    "PGUSER": "backend",
    "PGPASSWORD": secrets.token_urlsafe(20),
    "PGSSLMODE": "verify-full",
    "PGRST_JWT_SECRET": secrets.token_urlsafe(32),
    "PGRST_DB_SCHEMAS": "api, totp_api",
}
# The changes, and what check-env says.
BAD = {
    "a placeholder": ({"PGPASSWORD": "CHANGE"}, "PGPASSWORD is still the placeholder"),
    "nothing": ({"PGPASSWORD": ""}, "PGPASSWORD is empty"),
    "a missing user": ({"PGUSER": None}, "PGUSER is missing"),
    "a superuser": ({"PGUSER": "postgres"}, "PGUSER is a superuser"),
    "no TLS": ({"PGSSLMODE": "prefer"}, "PGSSLMODE should be verify-full"),
    "a short key": ({"TOTP_ENCRYPTION_KEY": "c2hvcnQ="}, "is not a Fernet key"),
    "standard base64": ({"TOTP_ENCRYPTION_KEY": "+/" * 21 + "8="}, "is not a Fernet key"),
    "a short secret": ({"PGRST_JWT_SECRET": "secret"}, "fewer than 32 bytes"),
    "no schema": ({"PGRST_DB_SCHEMAS": "api"}, "does not list totp_api"),
    "our schema first": ({"PGRST_DB_SCHEMAS": "totp_api, api"}, "begins with totp_api"),
}


def check_env(directory, values, mode=0o600):
    file = directory / "totp.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    file.chmod(mode)
    done = subprocess.run([CONFIG / "check-env", file], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_template_is_complete_and_nothing_but_placeholders_is_wrong(tmp_path):
    text = (CONFIG / "totp.env").read_text()
    assert re.findall(r"^(\w+)=", text, re.MULTILINE) == list(GOOD)
    file = tmp_path / "totp.env"
    file.write_text(text.replace("=CHANGE", "=" + "A" * 43 + "="))
    file.chmod(0o600)
    done = subprocess.run([CONFIG / "check-env", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_good_file_passes(tmp_path):
    assert check_env(tmp_path, GOOD) == (0, "")


@pytest.mark.parametrize(("change", "problem"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_and_no_value_is_printed(tmp_path, change, problem):
    values = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    code, output = check_env(tmp_path, values)
    assert code == 1 and problem in output
    kept = [GOOD[name] for name in ("TOTP_ENCRYPTION_KEY", "PGPASSWORD", "PGRST_JWT_SECRET")]
    assert not any(value in output for value in kept)


def test_a_file_that_others_can_read_is_refused(tmp_path):
    code, output = check_env(tmp_path, GOOD, 0o644)
    assert code == 1 and "its mode is 644" in output
