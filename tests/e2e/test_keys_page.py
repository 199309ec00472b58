"""docs/keys.md, tried as it is written: its statements and commands, in their order."""

import os
import re
import subprocess

import pytest
from cryptography.fernet import Fernet

from authenticator import Authenticator
from client import Client
from cluster import ROOT, Cluster, bindir
from conftest import install
from key_file import KeyFile, key_id

PAGE = (ROOT / "docs/keys.md").read_text()
PARTS = [
    re.findall(r"^ *```(sql|sh)\n(.*?)^ *```", part, re.DOTALL | re.MULTILINE)
    for part in re.split(r"^## (?:pg_upgrade|When a key is lost)$", PAGE, flags=re.MULTILINE)
]
BLOCKS, UPGRADE, LOSS = PARTS


@pytest.fixture
def server():
    with Cluster() as server:
        install(server, "postgres")
        yield server


def run(server, kind, text, **more):
    """Runs a block as the page says, by psql or by the shell."""
    if kind == "sql":
        options = ["-X", "-A", "-t", "--set=ON_ERROR_STOP=1", "postgres"]
        return server.run("psql", *options, text=text)
    path = f"{bindir()}:{os.environ['PATH']}"
    keys = str(server.data_dir / "totp.keys")
    variables = {"PGDATA": str(server.data_dir), "KEY_FILE": keys, "PATH": path, **more}
    command = ["bash", "-c", text]
    environment = {**os.environ, **server.variables, **variables}
    return subprocess.run(command, check=True, env=environment, capture_output=True, text=True)


def test_the_page_replaces_a_key(server):
    file = KeyFile(server)
    (old,) = file.keys
    file.path.write_text(f"# our keys\n\n  # of this year\n{old}\n")
    elsewhere = file.path.rename(file.path.with_name("elsewhere"))
    file.path.symlink_to(elsewhere)
    with server.connect() as connection:
        client = Client(connection)
        people = [client.enrol(f"user-{n}") for n in range(3)]
        outputs = [run(server, *block) for block in BLOCKS]
        assert [kind for kind, _ in BLOCKS] == ["sql", "sh", "sql", "sql", "sh", "sql"]
        # One key is left: a new one, and all rows are sealed with it.
        (new,) = file.keys
        assert new != old and Fernet(new)
        assert file.path.is_symlink() and file.path.resolve() == elsewhere
        assert file.mode == 0o600 and file.path.stat().st_uid == server.owner
        keys = client.rows("SELECT key_id, is_primary, factors, backup_codes FROM totp.key_status")
        assert [tuple(row) for row in keys] == [(key_id(new), True, 3, 3)]
        for person in people:
            assert client.verify(person.account, person.phone.take(client.now))
            assert client.backup_verify(person.account, person.backup_codes[0])
    first_look, after_rotation, after_restore = outputs[0], outputs[3], outputs[5]
    assert f"{key_id(old)}|t|t|3|3|" in first_look
    assert after_rotation.split() == ["missing_keys|ok", "key_rotation|ok"]
    # The tests' clusters run without fsync, and with the key file in the data directory.
    in_data_directory, no_fsync = after_restore.splitlines()
    assert in_data_directory.startswith("The key file is in the data directory:")
    assert no_fsync == "It is off: a crash can make spent codes valid again.|Set fsync = on."


def test_a_key_file_that_root_owns_stays_readable_for_the_server(server):
    """As containers mount it: root's, with mode 0640, read by the server's group."""
    file = KeyFile(server)
    os.chown(file.path, 0, file.path.stat().st_gid)
    file.mode = 0o640
    before = file.path.stat()
    (old,) = file.keys
    for block in BLOCKS:
        run(server, *block)
    (new,) = file.keys
    after = file.path.stat()
    assert new != old and after.st_ino != before.st_ino
    assert (after.st_uid, after.st_gid, file.mode) == (0, before.st_gid, 0o640)
    with server.connect() as connection:
        assert Client(connection).enrol("alice")


def test_without_a_server_the_keys_stay(server):
    file = KeyFile(server)
    before = file.path.read_text()
    server.stop()
    with pytest.raises(subprocess.CalledProcessError):
        run(server, *BLOCKS[1])
    assert file.path.read_text() == before


def test_a_drill_with_the_wrong_keyring_says_which_keys_are_missing(server):
    (old,) = KeyFile(server).keys
    with server.connect() as connection:
        Client(connection).enrol("alice")
    KeyFile(server).write(Fernet.generate_key().decode())
    kind, text = BLOCKS[-1]
    assert f"Rows encrypted with key {key_id(old)}: 2." in run(server, kind, text)


def test_the_key_file_moves_out_of_the_data_directory(server):
    elsewhere = server.directory / "elsewhere.keys"
    ((kind, text),) = UPGRADE
    look = "SELECT status FROM totp.preflight() WHERE check_name = 'key_source'"
    with server.connect() as connection:
        client = Client(connection)
        person = client.enrol("alice")
        assert client.value(look) == "fail"
        run(server, kind, text, KEY_FILE=str(elsewhere))
        server.configure(totp__key_file=str(elsewhere))
        assert client.value(look) == "ok"
        KeyFile(server).remove()
        assert client.verify("alice", person.phone.take(client.now))
    assert elsewhere.stat().st_uid == server.owner and elsewhere.stat().st_mode & 0o777 == 0o600


def test_without_any_key_a_new_file_is_made(server):
    file = KeyFile(server)
    (lost,) = file.keys
    file.remove()
    run(server, *LOSS[0])
    (new,) = file.keys
    assert new != lost and Fernet(new)
    assert file.mode == 0o600 and file.path.stat().st_uid == server.owner


def test_a_lost_key_is_replaced_by_hand(server):
    file = KeyFile(server)
    (lost,) = file.keys
    with server.connect() as connection:
        client = Client(connection)
        client.enrol("alice")
        carol = client.enrol("carol")
        file.write(Fernet.generate_key().decode(), *file.keys)
        kept, _ = file.keys
        bob = client.enrol("bob")
        # Her new phone needs the new key, her backup codes the old one.
        carol.phone = Authenticator(client.create("carol").uri)
        assert client.confirm("carol", carol.phone.take(client.now)).confirmed
        file.write(kept)
        make, reset, reissue = LOSS
        run(server, *make)
        assert file.keys[1:] == [kept] and file.keys[0] not in (kept, lost)
        assert file.mode == 0o600 and file.path.stat().st_uid == server.owner
        query = "SELECT detail FROM totp.preflight() WHERE check_name = 'missing_keys'"
        assert client.value(query) == f"Rows encrypted with key {key_id(lost)}: 3."
        run(server, *reset)
        assert client.status("alice").enabled is False
        account, codes = run(server, *reissue).strip().split("|")
        assert account == "carol" and client.backup_verify(account, codes.strip("{}").split(",")[9])
        assert client.verify("bob", bob.phone.take(client.now))
        assert client.value(query) is None or key_id(lost) not in client.value(query)
        client.enrol("alice")
        Fernet(client.value("SELECT totp.key_generate()"))
