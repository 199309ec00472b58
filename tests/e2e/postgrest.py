"""PostgREST as the database sees it: what it sends for a request, and makes of the answer.

It follows the source of PostgREST 12.2.12, 13.0.8 and 14.17 and, where they differ, the version it
is given. A request is checked in this order, as in src/PostgREST/App.hs: the token, the schema
cache, the profile, the body, the function. Then comes one transaction: the settings, the function
of db-pre-request, the call. The library hasql-transaction repeats it without limit when it ends in
a serialization failure; since its version 1.1, in a deadlock as well.

Left out: filters, embedding, ranges, other media types than JSON, OPTIONS, OpenAPI, the pool, and
headers and status that a function sets.
"""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgrst_cache import ISOLATION, SchemaCache, role_settings
from pgrst_error import (
    Refused,
    bad_body,
    bad_media_types,
    bad_method,
    bad_preferences,
    bad_schema,
    database_error,
    no_schema_cache,
    no_table,
)
from pgrst_token import believed

# The errors after which a transaction is repeated. Version 12 is bound to hasql-transaction 1.0.
REPEATED = {12: {"40001"}, 13: {"40001", "40P01"}, 14: {"40001", "40P01"}}
LEVELS = {"repeatable read": "REPEATABLE READ", "serializable": "SERIALIZABLE"}
PREFERENCES = {
    *("resolution=merge-duplicates", "resolution=ignore-duplicates"),
    *("return=representation", "return=minimal", "return=headers-only"),
    *("count=exact", "count=planned", "count=estimated", "tx=commit", "tx=rollback"),
    *("missing=default", "missing=null", "handling=strict", "handling=lenient"),
}
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
RAW = {"text/plain", "text/xml", "application/octet-stream"}
ACCEPTED = {"*/*", JSON, "application/vnd.pgrst.object+json"}

READ = """
WITH pgrst_source AS (SELECT {table}.* FROM {table})
SELECT coalesce(json_agg(_postgrest_t), '[]') AS body
FROM (SELECT pgrst_source.* FROM pgrst_source) _postgrest_t
"""
CALL = """
WITH pgrst_source AS (SELECT {columns} FROM {source})
SELECT coalesce(json_agg({result}){first}, {nothing}) AS body
FROM (SELECT pgrst_source.* FROM pgrst_source) _postgrest_t
"""
ARGUMENTS = """
(SELECT {body}::json AS json_data) pgrst_payload,
LATERAL (SELECT {names} FROM {record}(pgrst_payload.json_data) AS _({types})
         LIMIT 1) pgrst_body,
LATERAL {call}
"""


@dataclass
class Response:
    """What the client gets: a status, JSON, and headers."""

    status: int
    body: object
    headers: dict = field(default_factory=dict)

    @property
    def sqlstate(self):
        """The code of an error."""
        return self.body["code"]


@dataclass
class PostgREST:
    """A server: its connection to the database, as the login role, and its configuration. The last
    two are of its clients: the schema that they name in a profile header, and their headers."""

    connection: psycopg.Connection
    secret: str
    schemas: str = "api, totp_api"
    anon: str | None = "anon"
    pre_request: str | None = None
    tx_end: str = "commit"
    version: int = 14
    profile: str | None = "totp_api"
    headers: dict = field(default_factory=lambda: {"User-Agent": "a browser"})
    # How often a transaction was repeated.
    repeats: int = field(default=0, init=False)

    def __post_init__(self):
        self.connection.execute("LISTEN pgrst")
        self.reload_schema()

    # What clients send

    def get(self, function, token=None, prefer="", **arguments):
        """GET /rpc/function?argument=value"""
        query = f"?{urlencode(arguments)}" if arguments else ""
        headers = self._client_headers("Accept-Profile", token, prefer)
        return self.request("GET", f"/rpc/{function}{query}", headers)

    def post(self, function, body=None, token=None, prefer=""):
        """POST /rpc/function, with a body that is JSON, or that becomes JSON."""
        text = body if isinstance(body, str) else json.dumps(body or {})
        headers = self._client_headers("Content-Profile", token, prefer)
        return self.request("POST", f"/rpc/{function}", headers | {"Content-Type": JSON}, text)

    def read(self, table, token=None):
        """GET /table"""
        return self.request("GET", f"/{table}", self._client_headers("Accept-Profile", token, ""))

    def _client_headers(self, profile_header, token, prefer):
        headers = {**self.headers, "Prefer": prefer, profile_header: self.profile}
        headers["Authorization"] = f"Bearer {token}" if token is not None else None
        return {name: value for name, value in headers.items() if value}

    # What the server does

    def reload_schema(self):
        """NOTIFY pgrst, 'reload schema', which reads the configuration in the database as well."""
        self.reload_config()
        self.cache = SchemaCache.load(self.connection, self._exposed, self.version)

    def reload_config(self):
        """NOTIFY pgrst, 'reload config'"""
        self.role_settings = role_settings(self.connection)

    def request(self, method, target, headers=None, body=""):
        """One request as it comes by HTTP."""
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        try:
            return self._answer(method, target, headers, body)
        except Refused as refused:
            more = {"Content-Type": f"{JSON}; charset=utf-8"}
            if self.version >= 13:
                more["Proxy-Status"] = f"PostgREST; error={refused.code}"
            if refused.status == 503 and self.cache is None:
                # It tries until it succeeds, with pauses.
                self.reload_schema()
            return Response(refused.status, refused.body, more | refused.headers)

    def _answer(self, method, target, headers, body):
        claims = believed(headers.get("authorization"), self.secret, self.anon, self.version)
        self._follow_notifications()
        if self.cache is None:
            raise no_schema_cache()
        path, _, query = target.partition("?")
        schema = self._schema(method, headers)
        preferences = [part.strip() for part in headers.get("prefer", "").split(",") if part]
        if path.startswith("/rpc/"):
            plan = self._call(method, schema, path[5:], query, headers, body, preferences)
        else:
            plan = self._read(schema, path[1:])
        self._negotiate(headers, preferences)
        settings = {"search_path": f'"{schema}", "public"'}
        settings |= self.role_settings.get(claims["role"], {})
        isolation = plan.settings.get(ISOLATION, settings.pop(ISOLATION, ""))
        settings |= {"role": claims["role"], "request.jwt.claims": json.dumps(claims)}
        settings |= {"request.method": method, "request.path": path}
        settings["request.headers"] = json.dumps(headers)
        settings["request.cookies"] = "{}"
        settings |= plan.settings
        mode = f"{LEVELS.get(isolation.lower(), 'READ COMMITTED')} {plan.mode}"
        ends_in, applied = self._end(preferences)
        try:
            answer = self._repeat(mode, settings, plan, ends_in)
        except psycopg.Error as error:
            raise database_error(error, claims["role"] == self.anon, self.version) from error
        more = {"Content-Type": f"{JSON}; charset=utf-8"} | applied
        if len(self._exposed) > 1:
            more["Content-Profile"] = schema
        return Response(204, None, more) if plan.is_void else Response(200, answer, more)

    @property
    def _exposed(self):
        return [name.strip() for name in self.schemas.split(",")]

    def _schema(self, method, headers):
        """The schema that a request names, or the first."""
        writes = method in ("POST", "PATCH", "PUT", "DELETE")
        profile = headers.get("content-profile" if writes else "accept-profile")
        if profile is not None and profile not in self._exposed:
            raise bad_schema(profile, self._exposed, self.version)
        return profile or self._exposed[0]

    def _follow_notifications(self):
        """Does what was asked for on the channel pgrst since the last request."""
        asked = {notify.payload for notify in self.connection.notifies(timeout=0)}
        if "reload schema" in asked or "" in asked:
            self.reload_schema()
        elif "reload config" in asked:
            self.reload_config()

    def _negotiate(self, headers, preferences):
        """The checks of the headers Accept and Prefer."""
        accepted = [part.split(";")[0].strip() for part in headers.get("accept", "*/*").split(",")]
        if not ACCEPTED & set(accepted):
            raise bad_media_types(accepted)
        known = PREFERENCES | ({"params=single-object"} if self.version == 12 else set())
        others = ("timezone=", "max-affected=")
        unknown = [one for one in preferences if one not in known and not one.startswith(others)]
        if unknown and "handling=strict" in preferences:
            raise bad_preferences(unknown)

    def _end(self, preferences):
        """How the transaction ends: as db-tx-end says, and as the client prefers, if it may."""
        ends_in = "ROLLBACK" if self.tx_end.startswith("rollback") else "COMMIT"
        if self.tx_end.endswith("-allow-override"):
            for preference in preferences:
                if preference in ("tx=commit", "tx=rollback"):
                    return preference[3:].upper(), {"Preference-Applied": preference}
        return ends_in, {}

    def _read(self, schema, name):
        if self.version >= 13 and (schema, name) not in self.cache.tables:
            raise no_table(schema, name)
        return Plan(sql.SQL(READ).format(table=sql.Identifier(schema, name)))

    def _call(self, method, schema, name, query, headers, body, preferences):
        if method not in ("GET", "HEAD", "POST"):
            raise bad_method(method)
        media_type, arguments, given = "", None, set()
        if method == "POST":
            media_type = headers.get("content-type", JSON).split(";")[0].strip()
            body, given, arguments = payload(media_type, body)
        else:
            arguments = dict(parse_qsl(query, keep_blank_values=True))
            given = set(arguments)
        is_single_object = self.version == 12 and "params=single-object" in preferences
        function = self.cache.find(schema, name, given, media_type, is_single_object)
        statement = call(function, given, body if arguments is None else None)
        parameters = {"body": body} if arguments is None else arguments
        mode = "READ WRITE" if method == "POST" and function.is_volatile else "READ ONLY"
        return Plan(statement, parameters, mode, function.settings, function.is_void)

    def _repeat(self, mode, settings, plan, ends_in):
        """One request's transaction, repeated until it does not end in a conflict."""
        while True:
            try:
                self.connection.execute(f"BEGIN ISOLATION LEVEL {mode}")
                answer = self._run(settings, plan)
                if ends_in == "ROLLBACK":
                    self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                self.connection.execute(ends_in)
                return answer
            except psycopg.Error as error:
                if not self.connection.closed:
                    self.connection.execute("ROLLBACK")
                if error.sqlstate not in REPEATED[self.version]:
                    raise
                self.repeats += 1

    def _run(self, settings, plan):
        cursor = self.connection.cursor(row_factory=tuple_row)
        calls = sql.SQL(", ").join(sql.SQL("set_config(%s, %s, true)") for _ in settings)
        pairs = [part for setting in settings.items() for part in setting]
        cursor.execute(sql.SQL("SELECT {}").format(calls), pairs)
        if self.pre_request:
            name = sql.Identifier(*self.pre_request.split("."))
            cursor.execute(sql.SQL("SELECT {}()").format(name))
        (answer,) = cursor.execute(plan.statement, plan.parameters).fetchone()
        return answer


@dataclass
class Plan:
    """The statement of a request, and in what kind of transaction it runs."""

    statement: sql.Composed
    parameters: dict = field(default_factory=dict)
    mode: str = "READ ONLY"
    settings: dict = field(default_factory=dict)
    is_void: bool = False


def payload(media_type, body):
    """A body, the names of the arguments in it, and their values, when it is a form."""
    if media_type == FORM:
        arguments = dict(parse_qsl(body, keep_blank_values=True))
        return body, set(arguments), arguments
    if media_type in RAW:
        return body, set(), None
    if media_type != JSON:
        raise bad_body(f"Content-Type not acceptable: {media_type}")
    try:
        value = json.loads(body or "{}", parse_constant=lambda constant: int(constant))
    except ValueError:
        raise bad_body() from None
    if isinstance(value, dict):
        return body or "{}", set(value), None
    if not isinstance(value, list) or not value:
        return "[]", set(), None
    if not all(isinstance(one, dict) and one.keys() == value[0].keys() for one in value):
        raise bad_body("All object keys must match")
    return body, set(value[0]), None


def call(function, given, body):
    """The statement that calls a function with the values in a JSON body, or else with those of a
    query or a form."""
    name = sql.Identifier(function.schema, function.name)
    types = dict(zip(function.parameters, function.types, strict=False))
    value = "{0} := {1}::{2}" if body is None else "{0} := pgrst_body.{0}"
    arguments = sql.SQL(", ").join(
        sql.SQL(value).format(sql.Identifier(one), sql.Placeholder(one), sql.SQL(types[one]))
        for one in given
    )
    shape = "{}({}) pgrst_call"
    if not function.is_composite:
        shape = "(SELECT {}({}) pgrst_scalar) pgrst_call"
    source = sql.SQL(shape).format(name, arguments)
    if given and body is not None:
        columns = [sql.Identifier(one) for one in given]
        is_object = body.lstrip(" \t\r\n").startswith("{")
        source = sql.SQL(ARGUMENTS).format(
            body=sql.Placeholder("body"),
            names=sql.SQL(", ").join(columns),
            record=sql.SQL("json_to_record" if is_object else "json_to_recordset"),
            types=sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(one), sql.SQL(types[one])) for one in given
            ),
            call=source,
        )
    result = "_postgrest_t" if function.is_composite else "_postgrest_t.pgrst_scalar"
    return sql.SQL(CALL).format(
        columns=sql.SQL("pgrst_call.*" if function.is_composite else "pgrst_call.pgrst_scalar"),
        source=source,
        result=sql.SQL(result),
        first=sql.SQL("" if function.is_set else "->0"),
        nothing=sql.Literal("[]" if function.is_set else "null"),
    )
