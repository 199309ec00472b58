"""Attacks by encodings: bytes that are another text for the database than for us."""

import secrets

import pytest
from psycopg import errors, sql

from client import Client
from conftest import install

LOOK_ALIKES = {
    "a letter of another alphabet": "аlice",
    "not in normal form": "ali\u0308ce",
    "a blank of no width": "ali\u200bce",
    "right to left": "\u202ealice",
    "a blank at the end": "alice ",
    "capitals": "ALICE",
    "a dotless i": "al\u0131ce",
    "full width": "ａlice",
    "a byte order mark": "\ufeffalice",
}
CODES_THAT_LOOK_RIGHT = {
    "full width": str.maketrans("0123456789", "０１２３４５６７８９"),
    "Arabic": str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"),
    "mathematical": str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_an_account_that_looks_like_another_is_another(app, account, name):
    """A name that looks like the victim's, or that some comparison takes for it."""
    victim = app.enrol(f"{account}-alice")
    attacker = app.enrol(f"{account}-{name}")
    assert app.backup_verify(victim.account, attacker.backup_codes[0]) is False
    assert app.backup_verify(attacker.account, attacker.backup_codes[0]) is True
    assert app.status(attacker.account).failures == 0


@pytest.mark.parametrize("digits", CODES_THAT_LOOK_RIGHT.values(), ids=CODES_THAT_LOOK_RIGHT.keys())
def test_a_code_in_other_digits_is_not_a_second_code(app, victim, digits):
    """One code, typed in another way, must not count twice. Here it does not count at all."""
    code = victim.phone.take(app.now)
    assert app.verify(victim.account, code.translate(digits)) is False
    assert app.verify(victim.account, code) is True
    assert app.verify(victim.account, code.translate(digits)) is False


def test_a_client_of_another_encoding_reaches_the_same_account(cluster, app, account):
    """Bytes are translated before they reach us: the name is what counts."""
    person = app.enrol(f"{account}-ü")
    with cluster.connect("app", "e2e", client_encoding="LATIN1") as connection:
        client = Client(connection)
        assert client.is_enabled(f"{account}-ü") is True
        assert client.backup_verify(f"{account}-ü", person.backup_codes[0]) is True


@pytest.mark.parametrize("bytes_", ["ff", "c328", "e28028", "f09f92", "edb080"])
def test_bytes_that_are_no_text_are_refused_by_a_database_in_utf8(connect, bytes_):
    """Also where PostgreSQL makes a text of bytes."""
    for call in ("totp_verify('x', {})", "totp_create({})", "challenge_verify({}, '1')"):
        with pytest.raises(errors.CharacterNotInRepertoire):
            text = f"convert_from('\\x{bytes_}', 'UTF8')"
            connect("app").execute(f"SELECT totp.{call.format(text)}")


@pytest.fixture
def narrow(cluster):
    """A database that takes any bytes for text."""
    name = f"narrow_{secrets.token_hex(4)}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'"
    cluster.execute(sql.SQL(create).format(sql.Identifier(name)))
    install(cluster, name)
    with cluster.connect("authenticator", name) as connection:
        connection.execute("SET ROLE authenticated")
        yield Client(connection)
    cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("name", [r"victim\xff", r"victim\xc3", r"\xff", r"victim\xed\xb0\x80"])
def test_a_claim_that_is_no_text_is_nobody(narrow, name):
    """A replacement character in the place of bad bytes would make one account of many."""
    narrow.execute(f"SELECT set_config('request.jwt.claims', E'{{\"sub\": \"{name}\"}}', false)")
    assert narrow.value("SELECT totp.current_account()") is None
    narrow.execute("SELECT set_config('request.jwt.claims', '{\"sub\": \"victim\"}', false)")
    assert narrow.value("SELECT totp.current_account()") == b"victim"


def test_roles_whose_names_are_no_text_are_nobody(cluster, narrow):
    """With totp.identity = role: replacement characters would make one account of two names."""
    with cluster.connect(dbname=narrow.connection.info.dbname) as connection:
        dba = Client(connection)
        dba.execute("SET totp.identity = 'role'")
        for role in (r"u\xfc", r"u\xe4"):
            dba.execute(
                f"DO $$ BEGIN EXECUTE format('CREATE ROLE %I IN ROLE totp_user', E'{role}'); END $$"
            )
            dba.execute(f"SELECT set_config('session_authorization', E'{role}', false)")
            assert dba.value("SELECT totp.current_account()") is None
            dba.execute("RESET SESSION AUTHORIZATION")
            dba.execute(f"DO $$ BEGIN EXECUTE format('DROP ROLE %I', E'{role}'); END $$")


def database_in(cluster, encoding):
    name = f"{encoding.lower()}_{secrets.token_hex(4)}"
    create = "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    cluster.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(encoding)))
    return name


# Where a role was created, its name, where it logs in, and how the audit trail calls it there.
NAMES = [
    ("UTF8", "müller", "EUC_JP", rb"m\xC3\xBCller"),
    ("EUC_JP", "日本", "EUC_JP", rb"\xC6\xFC\xCB\xDC"),
    ("EUC_JP", "日本", "UTF8", rb"\xC6\xFC\xCB\xDC"),
    ("LATIN1", "müller", "UTF8", rb"m\xFCller"),
    ("LATIN1", "müller", "EUC_JP", rb"m\xFCller"),
    ("LATIN1", "müller", "SQL_ASCII", rb"m\xFCller"),
    ("UTF8", "müller", "SQL_ASCII", "müller".encode()),
    ("UTF8", "DOMAIN\\müller", "UTF8", "DOMAIN\\müller".encode()),
    ("UTF8", r"m\xFCller", "UTF8", rb"m\x5CxFCller"),
]


@pytest.mark.parametrize(("home", "role", "place", "shown"), NAMES)
def test_a_name_of_another_encoding_leaves_the_audit_trail_readable(
    cluster, home, role, place, shown
):
    """Bytes that are not text in the database's encoding broke audit_log, dumps and restores."""
    born, used, restored = (database_in(cluster, name) for name in (home, place, place))
    encoded = role.encode({"EUC_JP": "euc_jp", "LATIN1": "latin1"}.get(home, "utf8"))
    identifier = sql.Identifier(role)
    create = sql.SQL("CREATE ROLE {} LOGIN IN ROLE totp_app").format(identifier)
    try:
        install(cluster, used)
        cluster.execute(create, dbname=born)
        user = {
            "PGUSER": encoded.decode("utf8", "surrogateescape"),
            "PGCLIENTENCODING": "SQL_ASCII",
        }
        create = "SELECT FROM totp.totp_create('somebody')"
        cluster.run("psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", used, "-c", create, **user)
        # As long as there is such a role, PostgreSQL's own pg_dump cannot read its name.
        cluster.execute(sql.SQL("DROP ROLE {}").format(identifier), dbname=born)
        dump = cluster.data_dir / f"{used}.dump"
        cluster.run("pg_dump", "-Fc", "-f", dump, used)
        cluster.run("pg_restore", "--exit-on-error", "-d", restored, dump)
        for dbname in used, restored:
            with cluster.connect(dbname=dbname) as connection:
                query = "SELECT actor FROM totp.audit_log WHERE account = 'somebody'"
                (actor,) = [row.actor for row in Client(connection).rows(query)]
            assert (actor if isinstance(actor, bytes) else actor.encode()) == shown
    finally:
        cluster.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(identifier), dbname=born)
        for dbname in born, used, restored:
            cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(dbname)))


def test_a_claim_that_the_database_cannot_store_is_nobody(cluster):
    """JSON can write any character, whatever the encoding of the database is."""
    name = database_in(cluster, "EUC_JP")
    install(cluster, name)
    with cluster.connect("authenticator", name) as connection:
        client = Client(connection)
        client.execute("SET ROLE authenticated")
        for claims in (r'{"sub": "\u00fc"}', r'{"sub": "x", "session_id": "\u00fc"}'):
            client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
            assert client.value("SELECT totp.current_account()") is None
    cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "UTF8", "LATIN1", "EUC_JP"])
def test_names_are_as_long_in_any_encoding(cluster, encoding):
    """The functions count characters: a name that they take fits into the tables, too."""
    name = database_in(cluster, encoding)
    install(cluster, name)
    is_unicode = encoding in ("SQL_ASCII", "UTF8")
    try:
        with cluster.connect(dbname=name, client_encoding="UTF8") as connection:
            client = Client(connection)
            letter = "ü" if is_unicode else "u"
            client.create(letter * 255, label=letter * 64)
            client.challenge(letter * 255, purpose=letter * 64)
            for options in ({"account": letter * 256}, {"account": "a", "label": letter * 65}):
                with pytest.raises(errors.InvalidParameterValue):
                    client.create(**options)
    finally:
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
