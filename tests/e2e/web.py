"""A cluster as it stands behind PostgREST or Supabase: their roles, and a secret for tokens."""

import os
import re
import secrets
import time

import jwt

from authenticator import Authenticator
from cluster import ROOT, Cluster
from conftest import DATABASE, ROLES, install, new_account
from postgrest import PostgREST

# Supabase's; made after the extension.
WEB_ROLES = """
CREATE ROLE authenticator LOGIN NOINHERIT;
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
GRANT anon, authenticated, service_role TO authenticator;
"""
# The application's own schema, the first of db-schemas.
API = """
CREATE SCHEMA api;
GRANT USAGE ON SCHEMA api TO anon, authenticated;
"""
PAGE = (ROOT / "docs" / "postgrest.md").read_text()
# The statements, shell commands and scripts of the page, in their order.
SQL_BLOCKS, SH_BLOCKS, JS_BLOCKS = (
    re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for kind in ("sql", "sh", "js")
)
GRANTS, RELOAD, POLICY, PRE_REQUEST = SQL_BLOCKS


class Web(Cluster):
    """Starts with the extension in its database, and with everybody's roles."""

    def __enter__(self):
        super().__enter__()
        try:
            self._prepare()
        except BaseException:
            self.destroy()
            raise
        return self

    def _prepare(self):
        self.secret = secrets.token_urlsafe(48)
        file = self.data_dir / "jwt.secret"
        file.write_text(self.secret)
        file.chmod(0o600)
        os.chown(file, self.owner, -1)
        self.new_database(DATABASE)
        install(self, DATABASE)
        self.execute(ROLES, WEB_ROLES, API, GRANTS, dbname=DATABASE)
        self.execute("GRANT totp_app TO service_role")
        self.configure(totp__jwt_secret_file="jwt.secret")

    def server(self, **options):
        """A PostgREST server with a connection of its own. Clients may choose how a transaction
        ends, which PostgREST does not let them unless it is configured so."""
        options = {"tx_end": "commit-allow-override", **options}
        return PostgREST(self.connect("authenticator", DATABASE), self.secret, **options)

    def token(self, account, role="authenticated", **claims):
        """What an identity provider signs for a person who gave the right password."""
        session = {"session_id": secrets.token_hex(8), "aal": "aal1"}
        expiry = int(time.time()) + 3600
        payload = {"sub": account, "role": role, "exp": expiry, **session, **claims}
        return jwt.encode(payload, self.secret, "HS256")


class Browser:
    """A person who gave the right password, and what their browser sends."""

    def __init__(self, web, server, account=None, **claims):
        self.account = account or new_account()
        self.token = web.token(self.account, **claims)
        self.server = server

    def post(self, function, prefer="", **arguments):
        return self.server.post(function, arguments, self.token, prefer)

    def get(self, function, **arguments):
        return self.server.get(function, self.token, **arguments)

    def enrol(self, **options):
        """The app on the phone, and the backup codes when these are the first."""
        phone = Authenticator(self.post("totp_create", **options).body["uri"])
        confirmed = self.post("totp_confirm", code=phone.take(time.time()), **options)
        assert confirmed.body["confirmed"] is True, confirmed
        return phone, confirmed.body["backup_codes"]
