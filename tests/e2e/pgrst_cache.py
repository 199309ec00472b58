"""PostgREST's schema cache, and the settings of roles that it reads: src/PostgREST/SchemaCache.hs
and Config/Database.hs, and how src/PostgREST/Plan.hs finds a function in it.

Left out: relationships, overloaded functions with arguments of the same names, VARIADIC, domains.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import psycopg
from psycopg.rows import tuple_row

from pgrst_error import no_function

FUNCTIONS = """
SELECT nspname, proname, coalesce(proargnames[1 : pronargs], '{}'),
    ARRAY(SELECT format_type(type, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS _ (type, place)
          ORDER BY place),
    pronargs - pronargdefaults, provolatile = 'v', proretset,
    typtype = 'c' OR coalesce(proargmodes::text[] && '{t,b,o}', false), typname = 'void',
    coalesce(proconfig, '{}')
FROM pg_proc JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_type AS t ON t.oid = prorettype
WHERE nspname = ANY(%s) AND prokind = 'f' AND typname <> 'trigger'
"""
TABLES = """
SELECT nspname, relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE nspname = ANY(%s) AND nspname NOT IN ('pg_catalog', 'information_schema')
    AND relkind IN ('v', 'r', 'm', 'f', 'p') AND NOT relispartition
"""
# Those of ALTER ROLE ... SET, not of ALTER ROLE ... IN DATABASE ... SET.
ROLE_SETTINGS = """
SELECT rolname, name, substr(text, strpos(text, '=') + 1)
FROM pg_auth_members JOIN pg_roles AS r ON r.oid = roleid
CROSS JOIN unnest(rolconfig) AS _ (text)
JOIN pg_settings ON name = split_part(text, '=', 1)
WHERE member = current_user::regrole
    AND (context = 'user' OR has_parameter_privilege(current_user, name, 'set'))
"""
ISOLATION = "default_transaction_isolation"
# db-hoisted-tx-settings: settings of a function that hold for the whole transaction
HOISTED = ("statement_timeout", "plan_filter.statement_cost_limit", ISOLATION)


@dataclass(frozen=True)
class Function:
    """A function that can be called."""

    schema: str
    name: str
    parameters: tuple[str, ...]
    types: tuple[str, ...]
    required: int
    is_volatile: bool
    is_set: bool
    is_composite: bool
    is_void: bool
    settings: dict

    def takes(self, given):
        """Whether it can be called with arguments of these names."""
        return set(self.parameters[: self.required]) <= given <= set(self.parameters)

    def is_of(self, types):
        """Whether it takes a single value of one of these types, without a name."""
        return self.parameters in ((), ("",)) and len(self.types) == 1 and self.types[0] in types


class SchemaCache:
    """What a server knows of its schemas, as of the time when it looked."""

    def __init__(self, connection, schemas, version):
        cursor = connection.cursor(row_factory=tuple_row)
        if version >= 13:
            # A schema that is missing is an error, and then there is no cache at all.
            for name in schemas:
                cursor.execute("SELECT quote_ident(%s)::regnamespace", [name])
        self.functions = {}
        for schema, name, parameters, types, *rest, config in cursor.execute(FUNCTIONS, [schemas]):
            settings = dict(setting.split("=", 1) for setting in config)
            hoisted = {key: settings[key] for key in HOISTED if key in settings}
            function = Function(schema, name, tuple(parameters), tuple(types), *rest, hoisted)
            self.functions.setdefault((schema, name), []).append(function)
        self.tables = set(cursor.execute(TABLES, [schemas]))

    @classmethod
    def load(cls, connection, schemas, version):
        """None when a schema is missing: no request is answered then."""
        try:
            return cls(connection, schemas, version)
        except psycopg.errors.InvalidSchemaName:
            return None

    def find(self, schema, name, given, media_type="", is_single_object=False):
        """The function of this name whose parameters have the names of the arguments. A media type
        is that of the body of a POST."""
        candidates = self.functions.get((schema, name), [])
        unnamed = {"application/json": ("json", "jsonb"), "text/plain": ("text",)}
        unnamed |= {"text/xml": ("xml",), "application/octet-stream": ("bytea",)}
        if is_single_object:
            found = [one for one in candidates if one.is_of(unnamed["application/json"])]
        else:
            found = [one for one in candidates if one.takes(given)]
        found = found or [one for one in candidates if one.is_of(unnamed.get(media_type, ()))]
        if found:
            (function,) = found
            return function
        searched = "with a single json/jsonb parameter"
        if not is_single_object:
            names = ", ".join(sorted(given))
            searched = f"with parameter{'s' if len(given) > 1 else ''} {names}"
            searched = searched if given else "without parameters"
            if media_type == "application/json":
                searched += " or with a single unnamed json/jsonb parameter"
        nearest = self._nearest(schema, name, given, candidates)
        raise no_function(f"{schema}.{name}", given, searched, nearest)

    def _nearest(self, schema, name, given, candidates):
        """What the hint offers: about that, since the real server measures likeness otherwise."""
        if candidates:
            shown = [f"({', '.join(sorted(one.parameters))})" for one in candidates]
            near = get_close_matches(f"({', '.join(sorted(given))})", shown, 1, 0.33)
            return f"{schema}.{name}{near[0]}" if near else None
        names = [other for other_schema, other in self.functions if other_schema == schema]
        near = get_close_matches(name, names, 1, 0.75)
        return f"{schema}.{near[0]}" if near else None


def role_settings(connection):
    """The settings of each role that the login role can become."""
    settings = {}
    for role, name, value in connection.cursor(row_factory=tuple_row).execute(ROLE_SETTINGS):
        settings.setdefault(role, {})[name] = value
    return settings
