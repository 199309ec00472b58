"""Requests of browsers as PostgREST brings them to the server: its settings, its statements."""

import json
from contextlib import contextmanager

from psycopg import sql
from psycopg.rows import tuple_row

# The names of PostgREST's documentation. anon must be there before the extension, which lets it in.
ROLES = """
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated TO authenticator;
"""
SETTINGS = """
SELECT set_config('search_path', '"public", "totp_api"', true), set_config('role', %s, true),
    set_config('request.jwt.claims', %s, true), set_config('request.method', %s, true),
    set_config('request.path', %s, true), set_config('request.headers', '{}', true),
    set_config('request.cookies', '{}', true)
"""
CALL = """
SELECT pgrst_call.* FROM (SELECT %s::json AS json_data) pgrst_payload,
LATERAL (SELECT {columns} FROM json_to_record(pgrst_payload.json_data) AS _({types})) pgrst_body,
LATERAL "totp_api".{function}({arguments}) pgrst_call
"""


class Browser:
    """Somebody with a JSON Web Token of these claims; without any, an anonymous caller."""

    def __init__(self, connection, **claims):
        self.connection = connection
        self.claims = {"role": "authenticated", **claims} if claims else {"role": "anon"}

    def over(self, connection):
        """The same session, served over another connection of the pool."""
        claims = {} if self.claims["role"] == "anon" else self.claims
        return Browser(connection, **claims)

    def get(self, query):
        """Reads, in a read-only transaction."""
        with self.request("GET", "/") as connection:
            return connection.execute(query).fetchall()

    def post(self, function, rollback=False, **arguments):
        """Calls a function of totp_api, whose arguments are texts; the row that it gives."""
        statement = sql.SQL(CALL).format(
            columns=_list("{0}", arguments),
            types=_list("{0} text", arguments),
            function=sql.Identifier(function),
            arguments=_list("{0} := pgrst_body.{0}", arguments),
        )
        with self.request("POST", f"/rpc/{function}", rollback) as connection:
            (row,) = connection.execute(statement, [json.dumps(arguments)]).fetchall()
            return row

    @contextmanager
    def request(self, method, path, rollback=False):
        """The transaction of one request."""
        with self.connection.transaction(force_rollback=rollback):
            access = "READ ONLY" if method == "GET" else "READ WRITE"
            self.connection.execute(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED {access}")
            settings = [self.claims["role"], json.dumps(self.claims), method, path]
            self.connection.cursor(row_factory=tuple_row).execute(SETTINGS, settings)
            yield self.connection


def _list(shape, names):
    parts = [sql.SQL(shape).format(sql.Identifier(name)) for name in names]
    return sql.SQL(", ").join(parts)
