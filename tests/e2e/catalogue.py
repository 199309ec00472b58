"""All that the catalogs say of the extension's objects, so that two installations can be compared."""

from psycopg.rows import tuple_row

# PostgreSQL 15.20 marks the columns of every new table with an option of its own.
OPTIONS = """(
    SELECT jsonb_agg(option) FROM unnest(attoptions) AS option WHERE option !~ '^pg_attver=')"""
ACL = '(SELECT array_agg(item::text ORDER BY item::text COLLATE "C") FROM unnest({}) AS item)'
MEMBER = """EXISTS (SELECT FROM pg_depend WHERE deptype = 'e' AND classid = '{0}'::regclass AND objid = {1}
    AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'totp'))"""
OURS = "{0} IN ('totp'::regnamespace, 'totp_api'::regnamespace)"

# Each query returns names and what belongs to them.
QUERIES = {
    "member": """
        SELECT pg_describe_object(classid, objid, 0), NULL FROM pg_depend WHERE deptype = 'e'
        AND refclassid = 'pg_extension'::regclass
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'totp')""",
    "extension": """
        SELECT extname, jsonb_build_array(extowner::regrole, extnamespace::regnamespace, extrelocatable,
            obj_description(oid, 'pg_extension')) FROM pg_extension WHERE extname = 'totp'""",
    # In no order: it is that in which tables were added.
    "dumped table": """
        SELECT unnest(extconfig)::regclass, unnest(extcondition) FROM pg_extension WHERE extname = 'totp'""",
    "schema": f"""
        SELECT nspname, jsonb_build_array(nspowner::regrole, {ACL.format("nspacl")},
            obj_description(oid, 'pg_namespace'))
        FROM pg_namespace WHERE nspname IN ('totp', 'totp_api')""",
    "function": f"""
        SELECT oid::regprocedure, to_jsonb(p) - '{{oid,pronamespace,proowner,proacl,prolang,prorettype,
                proargtypes,proallargtypes,prosupport,prosqlbody,proargdefaults}}'::text[]
            || jsonb_build_object('owner', proowner::regrole, 'acl', {ACL.format("proacl")},
                'language', (SELECT lanname FROM pg_language WHERE oid = prolang),
                'arguments', pg_get_function_arguments(oid), 'result', pg_get_function_result(oid),
                'comment', obj_description(oid, 'pg_proc'))
        FROM pg_proc AS p WHERE {OURS.format("pronamespace")}""",
    "relation": f"""
        SELECT oid::regclass, jsonb_build_array(relkind, relpersistence, relowner::regrole,
            {ACL.format("relacl")}, reloptions, relreplident, relrowsecurity, reltablespace,
            obj_description(oid, 'pg_class'))
        FROM pg_class WHERE {OURS.format("relnamespace")}""",
    # ALTER TABLE puts new columns at the end, so the order of columns of tables is not compared.
    "column": f"""
        SELECT format('%s.%I', attrelid::regclass, attname), jsonb_build_array(
            format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage,
            attcompression, attcollation::regcollation, {ACL.format("attacl")}, {OPTIONS},
            pg_get_expr(adbin, adrelid), col_description(attrelid, attnum),
            CASE relkind WHEN 'r' THEN NULL ELSE attnum END)
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE {OURS.format("relnamespace")} AND attnum > 0 AND NOT attisdropped""",
    "constraint": f"""
        SELECT format('%s of %s%s', conname, nullif(conrelid, 0)::regclass, nullif(contypid, 0)::regtype),
            jsonb_build_array(pg_get_constraintdef(oid), convalidated, condeferrable, condeferred,
            obj_description(oid, 'pg_constraint'))
        FROM pg_constraint WHERE {OURS.format("connamespace")}""",
    "index": f"""
        SELECT indexrelid::regclass, jsonb_build_array(pg_get_indexdef(indexrelid), indisvalid,
            indisprimary, indisreplident, indcollation::oid[]::regcollation[])
        FROM pg_index JOIN pg_class AS c ON c.oid = indrelid WHERE {OURS.format("relnamespace")}""",
    "trigger": f"""
        SELECT format('%s on %s', tgname, tgrelid::regclass),
            jsonb_build_array(pg_get_triggerdef(t.oid), tgenabled)
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
        WHERE {OURS.format("relnamespace")} AND NOT tgisinternal""",
    "view": f"""
        SELECT oid::regclass, to_jsonb(pg_get_viewdef(oid)) FROM pg_class
        WHERE {OURS.format("relnamespace")} AND relkind = 'v'""",
    "sequence": f"""
        SELECT seqrelid::regclass, to_jsonb(s) - 'seqrelid' || jsonb_build_object('owned by', (
            SELECT pg_describe_object(refclassid, refobjid, 0) FROM pg_depend WHERE objid = seqrelid
            AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
            AND deptype IN ('a', 'i')))
        FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = seqrelid
        WHERE {OURS.format("relnamespace")}""",
    "type": f"""
        SELECT oid::regtype, jsonb_build_array(typtype, typowner::regrole, {ACL.format("typacl")},
            typbasetype::regtype, typnotnull, typdefault, typcollation::regcollation,
            obj_description(oid, 'pg_type'))
        FROM pg_type WHERE {OURS.format("typnamespace")}""",
    # What pg_dump compares grants with.
    "initial privileges": f"""
        SELECT pg_describe_object(classoid, objoid, objsubid), jsonb_build_array(privtype,
            {ACL.format("initprivs")})
        FROM pg_init_privs WHERE {MEMBER.format("pg_class", "objoid")}
        OR {MEMBER.format("pg_proc", "objoid")} OR {MEMBER.format("pg_type", "objoid")}
        OR {MEMBER.format("pg_namespace", "objoid")}""",
}


def snapshot(connection):
    """What there is, by kind and name."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return {
            (kind, str(name)): detail
            for kind, query in QUERIES.items()
            for name, detail in cursor.execute(query).fetchall()
        }


def differences(one, other):
    """Lines that say what two snapshots do not have in common."""
    lines = []
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key, "missing"), other.get(key, "missing")
        if left != right:
            lines.append(f"{key[0]} {key[1]}:\n    {left}\n    {right}")
    return lines
