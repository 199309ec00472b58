"""PostgREST as the database sees it: what it sends for a request, and makes of the answer.

It follows PostgREST 12.2.12, the last line that knows `Prefer: params=single-object`: the
transaction of src/PostgREST/Query.hs (setPgLocals, runPreReq, optionalRollback), the calls of
src/PostgREST/Query/QueryBuilder.hs (callPlanToQuery) and Statements.hs (prepareCall), the choice of
a function by the names of its arguments, and the HTTP status of src/PostgREST/Error.hs. Left out:
content types, filters, embedding, and headers and status that a function sets.
"""

import json
from dataclasses import dataclass, field

import jwt
import psycopg
from psycopg import sql

# By SQLSTATE, or its class; 400 for the rest.
STATUS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "21000": 500,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "53400": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57P01": 503,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0001": 400,
    "P0": 500,
    "XX": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
}

FUNCTIONS = """
SELECT coalesce(proargnames[1 : pronargs], '{}') AS names,
    ARRAY(SELECT format_type(type, NULL) FROM unnest(proargtypes) AS type) AS types,
    pronargs - pronargdefaults AS required,
    provolatile = 'v' AS is_volatile, proretset AS is_set
FROM pg_proc WHERE pronamespace::regnamespace::text = %s AND proname = %s AND prokind = 'f'
"""
LOCALS = """
SELECT set_config('search_path', %(search_path)s, true) AS search_path,
    set_config('role', %(role)s, true) AS role,
    set_config('request.jwt.claims', %(claims)s, true) AS claims,
    set_config('request.method', %(method)s, true) AS method,
    set_config('request.path', %(path)s, true) AS path,
    set_config('request.headers', %(headers)s, true) AS headers,
    set_config('request.cookies', '{}', true) AS cookies
"""
READ = """
WITH pgrst_source AS (SELECT {table}.* FROM {table})
SELECT coalesce(json_agg(_postgrest_t), '[]') AS body
FROM (SELECT pgrst_source.* FROM pgrst_source) _postgrest_t
"""
CALL = """
WITH pgrst_source AS (SELECT pgrst_call.* FROM {source} pgrst_call)
SELECT coalesce({result}, 'null') AS body
FROM (SELECT pgrst_source.* FROM pgrst_source) _postgrest_t
"""
ARGUMENTS = """
(SELECT {body}::json AS json_data) pgrst_payload,
LATERAL (SELECT {names} FROM json_to_record(pgrst_payload.json_data) AS _({types})
         LIMIT 1) pgrst_body,
LATERAL {function}({arguments})
"""


@dataclass
class Response:
    """What the client gets: a status and JSON."""

    status: int
    body: object

    @property
    def sqlstate(self):
        """The code of an error."""
        return self.body["code"]


@dataclass
class PostgREST:
    """A server: its connection to the database, as the login role, and its configuration."""

    connection: psycopg.Connection
    secret: str
    schema: str = "totp_api"
    anon: str = "anon"
    pre_request: str | None = None
    headers: dict = field(default_factory=lambda: {"user-agent": "a browser"})

    def get(self, function, token=None, prefer="", **arguments):
        """GET /rpc/function?argument=value"""
        return self._call("GET", function, json.dumps(arguments), token, prefer)

    def post(self, function, body=None, token=None, prefer=""):
        """POST /rpc/function, with a body that is JSON, or that becomes JSON."""
        text = body if isinstance(body, str) else json.dumps(body or {})
        return self._call("POST", function, text, token, prefer)

    def read(self, table, token=None):
        """GET /table"""
        statement = sql.SQL(READ).format(table=sql.Identifier(self.schema, table))
        return self._run(("GET", f"/{table}", "READ ONLY"), statement, {}, token, "")

    def _call(self, method, name, body, token, prefer):
        function = self._find(name, names_in(body), prefer)
        if function is None:
            return Response(404, {"code": "PGRST202"})
        mode = "READ WRITE" if method == "POST" and function.is_volatile else "READ ONLY"
        statement = call(sql.Identifier(self.schema, name), function, names_in(body))
        return self._run((method, f"/rpc/{name}", mode), statement, {"body": body}, token, prefer)

    def _find(self, name, given, prefer):
        """The function whose arguments have the names that are given."""
        for function in self.connection.execute(FUNCTIONS, (self.schema, name)).fetchall():
            if "params=single-object" in prefer:
                # None of ours takes one: this server could not call it.
                assert function.types not in (["json"], ["jsonb"])
            elif set(function.names[: function.required]) <= given <= set(function.names):
                return function
        return None

    def _run(self, request, statement, parameters, token, prefer):
        """One request: its transaction, from BEGIN to COMMIT or ROLLBACK."""
        method, path, mode = request
        try:
            claims = self._claims(token)
        except jwt.PyJWTError:
            return Response(401, {"code": "PGRST301"})
        try:
            self.connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED {mode}")
            settings = {"claims": json.dumps(claims), "role": claims["role"]}
            settings |= {"search_path": f'"{self.schema}", "public"'}
            settings |= {"method": method, "path": path, "headers": json.dumps(self.headers)}
            self.connection.execute(LOCALS, settings)
            if self.pre_request:
                name = sql.Identifier(*self.pre_request.split("."))
                self.connection.execute(sql.SQL("SELECT {}()").format(name))
            (body,) = self.connection.execute(statement, parameters).fetchone()
            self.connection.execute("ROLLBACK" if "tx=rollback" in prefer else "COMMIT")
            return Response(200, body)
        except psycopg.Error as error:
            self.connection.execute("ROLLBACK")
            return refusal(error, is_anonymous=claims["role"] == self.anon)

    def _claims(self, token):
        """What a token says, if it is signed; without one the caller is anonymous."""
        claims = {}
        if token is not None:
            claims = jwt.decode(token, self.secret, ["HS256"], {"verify_aud": False})
        return {"role": self.anon, **claims}


def names_in(body):
    """The names of the arguments that a body holds."""
    try:
        return set(json.loads(body))
    except ValueError:
        return set()


def call(name, function, given):
    """The statement that calls a function with the values in a JSON object."""
    source = sql.SQL("{}()").format(name)
    if given:
        types = dict(zip(function.names, function.types, strict=True))
        columns = [sql.Identifier(argument) for argument in given]
        source = sql.SQL(ARGUMENTS).format(
            body=sql.Placeholder("body"),
            names=sql.SQL(", ").join(columns),
            types=sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(argument), sql.SQL(types[argument]))
                for argument in given
            ),
            function=name,
            arguments=sql.SQL(", ").join(
                sql.SQL("{0} := pgrst_body.{0}").format(column) for column in columns
            ),
        )
    rows = "json_agg(_postgrest_t)"
    result = f"coalesce({rows}, '[]')" if function.is_set else f"{rows}->0"
    return sql.SQL(CALL).format(source=source, result=sql.SQL(result))


def refusal(error, is_anonymous):
    """The response to an error of the database."""
    code, diagnosis = error.sqlstate, error.diag
    body = {"code": code, "message": diagnosis.message_primary}
    body |= {"details": diagnosis.message_detail, "hint": diagnosis.message_hint}
    if code == "42501":
        return Response(401 if is_anonymous else 403, body)
    if code.startswith("PT"):
        return Response(int(code[2:]), body)
    return Response(STATUS.get(code, STATUS.get(code[:2], 400)), body)
