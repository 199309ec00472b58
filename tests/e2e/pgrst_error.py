"""How PostgREST refuses a request: the statuses, codes and texts of its src/PostgREST/Error.hs.

Left out: errors that a function words itself by RAISE SQLSTATE 'PGRST'.
"""

from dataclasses import dataclass, field

# By SQLSTATE, or its class; 400 for the rest.
STATUS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
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
}


@dataclass
class Refused(Exception):
    """Ends a request: what the client gets instead of an answer."""

    status: int
    code: str
    message: str
    details: str | None = None
    hint: str | None = None
    headers: dict = field(default_factory=dict)

    @property
    def body(self):
        """The JSON object of the response."""
        names = ("code", "message", "details", "hint")
        return {name: getattr(self, name) for name in names}


def bad_body(message="Empty or invalid json"):
    return Refused(400, "PGRST102", message)


def bad_method(method):
    return Refused(405, "PGRST101", f"Cannot use the {method} method on RPC")


def bad_media_types(names):
    message = f"None of these media types are available: {', '.join(names)}"
    return Refused(406, "PGRST107", message)


def bad_preferences(names):
    message = "Invalid preferences given with handling=strict"
    return Refused(400, "PGRST122", message, f"Invalid preferences: {', '.join(names)}")


def bad_schema(schema, exposed, version):
    """A profile header names a schema that is not in db-schemas."""
    exposed = ", ".join(exposed)
    if version == 12:
        return Refused(406, "PGRST106", f"The schema must be one of the following: {exposed}")
    hint = f"Only the following schemas are exposed: {exposed}"
    return Refused(406, "PGRST106", f"Invalid schema: {schema}", hint=hint)


def no_schema_cache():
    message = "Could not query the database for the schema cache. Retrying."
    return Refused(503, "PGRST002", message, headers={"Retry-After": "1"})


def no_table(schema, name):
    message = f"Could not find the table '{schema}.{name}' in the schema cache"
    return Refused(404, "PGRST205", message)


def no_function(function, given, searched, nearest):
    """No function of this name has parameters of these names."""
    given = sorted(given)
    call = f"{function}({', '.join(given)})" if given else f"{function} without parameters"
    message = f"Could not find the function {call} in the schema cache"
    details = f"Searched for the function {function} {searched}"
    details += ", but no matches were found in the schema cache."
    hint = nearest and f"Perhaps you meant to call the function {nearest}"
    return Refused(404, "PGRST202", message, details, hint)


def bad_token(code, message, details=None):
    """A token that is not believed."""
    description = message.replace("\\", "\\\\").replace('"', '\\"')
    challenge = f'Bearer error="invalid_token", error_description="{description}"'
    return Refused(401, code, message, details, headers={"WWW-Authenticate": challenge})


def no_token():
    """No token, and db-anon-role is not set."""
    headers = {"WWW-Authenticate": "Bearer"}
    return Refused(401, "PGRST302", "Anonymous access is disabled", headers=headers)


def database_error(error, is_anonymous, version):
    """An error of the database, passed on."""
    if error.sqlstate is None:
        return Refused(503, "PGRST001", "Database client error. Retrying the connection.")
    shown = error.diag
    texts = (shown.message_primary, shown.message_detail, shown.message_hint)
    status = _status(error.sqlstate, shown.message_primary, is_anonymous, version)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Refused(status, error.sqlstate, *texts, headers)


def _status(code, message, is_anonymous, version):
    if code == "42501":
        return 401 if is_anonymous else 403
    if code.startswith("PT"):
        return int(code[2:]) if code[2:].isdigit() else 500
    is_role_missing = message.startswith("role") and message.endswith("does not exist")
    if code == "22023" and is_role_missing and version >= 13:
        return 401
    if code == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    return STATUS.get(code, STATUS.get(code[:2], 400))
