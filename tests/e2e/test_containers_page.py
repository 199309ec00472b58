"""docs/containers.md: a server reads a key file with each owner and mode in its table, or refuses it.

Only root can make such files, so these tests run as root."""

import os
import pwd
import re
import struct
import subprocess

import pytest

from client import Client
from cluster import ROOT, Cluster
from conftest import install
from key_file import KeyFile
from refusal import NO_KEY, refused

PAGE = (ROOT / "docs" / "containers.md").read_text()
ROW = re.compile(r"^\| (.*?) \| `(\w+):(\w+)` \| `0(\d+)` \| (yes|no) \|$", re.MULTILINE)
FILES = ROW.findall(PAGE)
(SHELL,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# An access control list: version 2, then tag, permissions and id of each entry.
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER, NO_ID = 1, 2, 4, 16, 32, 2**32 - 1
READ = 4


@pytest.fixture(scope="module")
def server():
    with Cluster() as server:
        install(server, "postgres")
        server.mounted = server.directory / "mounted"
        server.mounted.mkdir(mode=0o755)
        server.keys = KeyFile(server).text
        yield server


@pytest.fixture
def client(server):
    with server.connect() as connection:
        yield Client(connection)


def ids(server, owner, group):
    """The server's user and group are called postgres on the page."""
    user = pwd.getpwuid(server.owner)
    return (0 if owner == "root" else user.pw_uid), (0 if group == "root" else user.pw_gid)


def put(server, text, owner, group, mode, is_listed=False):
    """Makes the file, and makes it the key file. A new one has a new stamp."""
    file = server.mounted / "totp.keys"
    file.unlink(missing_ok=True)
    file.write_text(text)
    os.chown(file, *ids(server, owner, group))
    file.chmod(int(mode, 8))
    if is_listed:
        grant_read(file, server.owner)
    server.configure(totp__key_file=str(file))
    return file


def grant_read(file, user):
    """What systemd does with the file of a credential. The mask is what the mode of the group shows."""
    entries = [
        (USER_OBJ, READ, NO_ID),
        (USER, READ, user),
        (GROUP_OBJ, 0, NO_ID),
        (MASK, READ, NO_ID),
        (OTHER, 0, NO_ID),
    ]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(file, "system.posix_acl_access", struct.pack("<I", 2) + packed)


@pytest.mark.parametrize(
    ("source", "owner", "group", "mode", "accepted"), FILES, ids=[row[0] for row in FILES]
)
def test_the_server_reads_what_the_page_says(
    server, client, account, source, owner, group, mode, accepted
):
    file = put(server, server.keys, owner, group, mode, "(ACL)" in source)
    assert file.stat().st_mode & 0o777 == int(mode, 8)
    if accepted == "yes":
        assert client.verify(account, client.enrol(account).phone.code(client.now, 1))
    else:
        with refused(NO_KEY, without=[str(file), file.name]):
            client.create(account)


def test_all_platforms_are_in_the_table():
    assert len(FILES) == 11
    assert [row[4] for row in FILES].count("no") == 3


@pytest.mark.parametrize("mode", ["0600", "0400", "0640", "0440", "0040"])
def test_root_may_let_the_group_read(server, client, account, mode):
    put(server, server.keys, "root", "postgres", mode)
    if int(mode, 8) & 0o040:
        client.create(account)
    else:
        with refused(NO_KEY) as caught:
            client.create(account)
        assert "permission denied" in caught.value.diag.message_detail


@pytest.mark.parametrize("mode", ["0644", "0444", "0660", "0650", "0641", "0604", "0777"])
def test_root_may_not_let_others_read_or_the_group_write(server, client, account, mode):
    put(server, server.keys, "root", "postgres", mode)
    with refused(NO_KEY) as caught:
        client.create(account)
    assert caught.value.diag.message_detail.startswith(f"Its mode is {mode}")
    assert "0440" in caught.value.diag.message_hint


@pytest.mark.parametrize("mode", ["0640", "0440", "0604", "0660", "0610"])
def test_the_server_s_user_may_let_nobody_else_read(server, client, account, mode):
    put(server, server.keys, "postgres", "postgres", mode)
    with refused(NO_KEY) as caught:
        client.create(account)
    assert caught.value.diag.message_detail.startswith(f"Its mode is {mode}")


def test_a_kubernetes_volume_is_followed_and_its_update_is_noticed(server, client, account):
    """Each version has a directory of its own, to which the link `..data` points."""
    volume = server.directory / "volume"
    volume.mkdir(mode=0o755)

    def publish(version, text):
        directory = volume / f"..{version}"
        directory.mkdir(mode=0o755)
        file = directory / "totp.keys"
        file.write_text(text)
        os.chown(file, *ids(server, "root", "postgres"))
        file.chmod(0o440)
        link = volume / "..data_tmp"
        link.symlink_to(directory.name)
        link.rename(volume / "..data")

    publish("2030_01_01", server.keys)
    (volume / "totp.keys").symlink_to("..data/totp.keys")
    server.configure(totp__key_file=str(volume / "totp.keys"))
    person = client.enrol(account)
    (old,) = client.rows("SELECT key_id FROM totp.key_ids()")
    publish("2030_01_02", client.value("SELECT totp.key_generate()") + "\n" + server.keys)
    new, kept = client.rows("SELECT key_id FROM totp.key_ids() ORDER BY is_primary DESC")
    assert kept == old and new != old
    assert client.verify(account, person.phone.take(client.now))


def test_a_key_is_made_without_a_server(server, client, account, tmp_path):
    subprocess.run(["sh", "-c", SHELL], check=True, cwd=tmp_path)
    file = tmp_path / "totp.keys"
    assert file.stat().st_mode & 0o777 == 0o600
    put(server, file.read_text() + server.keys, "root", "postgres", "0440")
    assert client.verify(account, client.enrol(account).phone.code(client.now, 1))


@pytest.mark.parametrize(
    ("owner", "mode", "accepted"),
    [
        ("root", 0o640, True),
        ("root", 0o440, True),
        ("root", 0o444, False),
        ("postgres", 0o640, False),
    ],
)
def test_the_secret_for_tokens_follows_the_same_rule(server, client, owner, mode, accepted):
    file = server.mounted / "jwt.secret"
    file.unlink(missing_ok=True)
    file.write_text("0123456789abcdef0123456789abcdef\n")
    os.chown(file, *ids(server, owner, "postgres"))
    file.chmod(mode)
    server.configure(totp__jwt_secret_file=str(file))
    if accepted:
        assert client.value("SELECT totp.jwt_sign('{}')").count(".") == 2
    else:
        with refused(NO_KEY, without=[str(file), file.name]):
            client.value("SELECT totp.jwt_sign('{}')")
