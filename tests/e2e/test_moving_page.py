"""docs/moving.md, tried as it is written: its statements, in their order."""

import re

import pyotp
import pytest

from cluster import ROOT
from mover import place_to_move_to

PAGE = (ROOT / "docs" / "moving.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(PSQL,) = re.findall(r"^```\n(\\set document .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# What another system has in the same database.
TABLES = """
CREATE TABLE auth_user (id integer PRIMARY KEY, email text);
CREATE TABLE otp_totp_totpdevice (id integer PRIMARY KEY, user_id integer, name text, confirmed boolean,
    key text, step integer, t0 bigint, digits integer, drift integer, last_t bigint);
CREATE TABLE otp_static_statictoken (id integer PRIMARY KEY, user_id integer, token text);
INSERT INTO auth_user VALUES (1, 'alice@example.org');
INSERT INTO otp_totp_totpdevice VALUES (1, 1, 'phone', true, repeat('ab', 20), 30, 0, 6, 0, -1);
INSERT INTO otp_static_statictoken VALUES (1, 1, 'abcdefgh');
"""


@pytest.fixture
def mover(cluster):
    with place_to_move_to(cluster) as (name, mover):
        cluster.execute("GRANT CREATE ON SCHEMA public TO mover", dbname=name)
        mover.execute(TABLES)
        yield mover


def test_the_page_moves_users_in_and_out(mover):
    secret = pyotp.random_base32()
    results = []
    statements = [part.strip() for block in BLOCKS for part in block.split(";") if part.strip()]
    for statement in statements:
        if statement.startswith("COPY"):
            with mover.connection.cursor().copy(statement) as rows:
                rows.write(f"account,secret\nbob,{secret}\n")
            continue
        cursor = mover.execute(statement)
        if cursor.description:
            results.append([tuple(row) for row in cursor.fetchall()])
    no_problem, counts, bob, token, unassigned, wrong, all_uris, qr_codes = results
    assert no_problem == bob == token == []
    assert counts == [(1, 1, 1, 0)]
    assert unassigned == [("A1000001",)]
    assert wrong == [(False, None, "invalid")]
    assert [row[0] for row in all_uris] == ["1", "bob"]
    assert qr_codes[0][1].startswith("otpauth-migration://offline?data=")
    assert mover.rows("SELECT account FROM devices")[0].account == "alice@example.org"


def test_psql_passes_a_file_as_a_parameter(cluster):
    if cluster.connect().info.server_version < 160_000:
        pytest.skip("psql has no \\bind")
    file = cluster.data_dir / "tokens.csv"
    lines = [
        "# a comment 'with' \\ \"quotes\" and :colons",
        f"A1,{'ab' * 20},totp",
        f"A2,{'cd' * 20},totp",
    ]
    file.write_text("\n".join(lines))
    file.chmod(0o644)
    with place_to_move_to(cluster) as (name, _):
        text = PSQL.replace("tokens.csv", str(file))
        output = cluster.run("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", name, text=text)
        assert output.split() == ["A1|1|0|", "A2|1|0|"]
