"""What scripts/package makes for a PostgreSQL: archives, bill of materials, checksums, extension image.

Run by tests/run after scripts/package."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from client import Client
from cluster import PG_CONFIG, ROOT, Cluster, new_directory
from package import MAJOR, PACKAGES, VERSION

FILES = {"lib/totp.so", "share/extension/totp.control", f"share/extension/totp--{VERSION}.sql"}


def test_the_tarball_has_what_a_server_needs():
    (path,) = PACKAGES.glob(f"totp-{VERSION}-pg{MAJOR}-*.tar.gz")
    with tarfile.open(path) as archive:
        files = {member.name for member in archive if member.isfile()}
        assert {(member.uid, member.mode & 0o022) for member in archive} == {(0, 0)}
    assert files >= FILES | {"licenses/totp"}
    assert {Path(name).parent.as_posix() for name in files} == {
        "lib",
        "share/extension",
        "licenses",
    }


def test_the_sources_are_a_distribution_of_pgxn():
    with zipfile.ZipFile(PACKAGES / f"totp-{VERSION}.zip") as archive:
        names = archive.namelist()
        meta = json.loads(archive.read(f"totp-{VERSION}/META.json"))
    assert all(name.startswith(f"totp-{VERSION}/") for name in names)
    assert not any(name.startswith(f"totp-{VERSION}/target/") for name in names)
    (provided,) = meta["provides"].values()
    for file in (provided["file"], provided["docfile"], "Cargo.toml", "Makefile", "LICENSE"):
        assert f"totp-{VERSION}/{file}" in names
    # https://pgxn.org/meta/spec.txt, version 1.0.0.
    required = {"name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"}
    assert required <= meta.keys()
    assert meta["version"] == provided["version"] == VERSION
    assert meta["release_status"] in {"stable", "testing", "unstable"}
    assert meta["resources"].keys() <= {"homepage", "bugtracker", "repository"}


def test_the_bill_of_materials_names_what_is_compiled_in():
    bill = json.loads((PACKAGES / f"totp-{VERSION}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.5"
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    named = {(one["name"], one["version"]) for one in bill["components"]}
    assert named <= {(one["name"], one["version"]) for one in locked}
    wanted = set(tomllib.loads((ROOT / "Cargo.toml").read_text())["dependencies"])
    assert wanted <= {name for name, _ in named}
    known = {one["bom-ref"] for one in (*bill["components"], bill["metadata"]["component"])}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known


def test_the_checksums_are_those_of_all_packages():
    sums = dict(
        reversed(line.split("  ")) for line in (PACKAGES / "SHA256SUMS").read_text().splitlines()
    )
    published = {path.name for path in PACKAGES.glob("*totp*") if path.is_file()}
    assert sums.keys() == published
    for name, digest in sums.items():
        assert hashlib.sha256((PACKAGES / name).read_bytes()).hexdigest() == digest


def test_all_that_names_the_version_agrees():
    """Cargo.toml has it; the rest follows."""
    packaging = ROOT / "packaging/cloudnative-pg"
    assert f"version: {VERSION}\n" in (packaging / "database.yaml").read_text()
    for file in ("cluster.yaml", "Containerfile"):
        assert re.findall(r"totp:([\d.]+)-18", (packaging / file).read_text()) == [VERSION]
    control = (PACKAGES / f"pg{MAJOR}/share/extension/totp.control").read_text()
    assert f"default_version = '{VERSION}'" in control


on_18 = pytest.mark.skipif(MAJOR < 18, reason="PostgreSQL 18 has extension_control_path")


@pytest.fixture
def place():
    place = new_directory()
    yield place
    shutil.rmtree(place)


def assert_works_in(share, lib):
    """A server uses the extension in these directories. Their files come first, since the server's
    own directories may have the extension, too."""
    settings = {
        "extension_control_path": f"{share}:$system",
        "dynamic_library_path": f"{lib}:$libdir",
    }
    with Cluster(settings=settings) as server:
        server.execute("CREATE EXTENSION totp", "SELECT totp.key_generate()")
        with server.connect() as connection:
            client = Client(connection)
            assert client.verify("alice", client.enrol("alice").phone.code(client.now, 1))
            maps = Path(f"/proc/{connection.info.backend_pid}/maps").read_text()
    assert f"{lib}/totp.so" in maps
    assert os.fspath(Path(PG_CONFIG).parent.parent) + "/lib/totp.so" not in maps


@on_18
def test_an_extension_image_needs_no_file_in_the_server_s_directories(place):
    """CloudNativePG sets the two paths, with the directory of each image."""
    files = (ROOT / "packaging/cloudnative-pg/Containerfile").read_text()
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", files, re.MULTILINE):
        shutil.copytree(PACKAGES / f"pg{MAJOR}" / source, place / target.lstrip("/"))
    assert_works_in(place / "share", place / "lib")


# In place of sh: writes down the command, and has built the packages already.
SH = """#!/bin/bash
printf '%s\\n' "$2" >>COMMANDS
mkdir -p target/packages && cp -r PACKAGES/pg18 target/packages/
"""


@on_18
def test_the_dockerfile_s_steps_run_without_docker(place):
    """All steps but the build itself, which has been done for these tests."""
    text = (ROOT / "packaging/docker/Dockerfile").read_text()
    commands = place / "commands"
    shell = place / "bin/sh"
    shell.parent.mkdir()
    shell.write_text(SH.replace("COMMANDS", f"{commands}").replace("PACKAGES", f"{PACKAGES}"))
    shell.chmod(0o755)
    build = [ROOT / "packaging/docker/build", "--install-packages", "--pg-config", PG_CONFIG]
    path = f"{shell.parent}:{os.environ['PATH']}"
    subprocess.run([*build, place / "built"], env={**os.environ, "PATH": path}, check=True)

    written = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    expected = [re.sub(r"\\\n *", "", one) for one in written]
    assert len(expected) == 2
    expected = [one.replace("/usr/lib/postgresql/18/bin/pg_config", PG_CONFIG) for one in expected]
    assert commands.read_text().splitlines() == expected
    sources = place / "built/build/totp"
    assert (sources / "scripts/setup").exists() and not (sources / "target/venv").exists()

    debian = {"lib": "/usr/lib/postgresql/18/lib", "share": "/usr/share/postgresql/18"}
    image = place / "built/image"
    assert {f"/{file.relative_to(image)}" for file in image.rglob("totp*") if file.is_file()} >= {
        f"{debian['lib']}/totp.so",
        f"{debian['share']}/extension/totp.control",
        f"{debian['share']}/extension/totp--{VERSION}.sql",
        "/usr/share/doc/totp/totp",
    }
    assert_works_in(f"{image}{debian['share']}", f"{image}{debian['lib']}")
    (start,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert json.loads(start) == ["postgres", "-c", "shared_preload_libraries=totp"]
