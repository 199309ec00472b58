-- The extension's objects in the system catalogs.
-- Every function: flags, search path, owner and grants.
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result,
       p.provolatile AS v, p.proparallel AS p, p.prosecdef AS definer, p.proisstrict AS strict, p.proleakproof AS leak, p.procost AS cost, p.prorows AS rows,
       array_to_string(p.proconfig, ' ') AS config,
       CASE WHEN o.rolname = 'totp_owner' THEN 'totp_owner' ELSE 'installer' END AS owner
FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner
WHERE p.pronamespace = 'totp'::regnamespace ORDER BY p.proname, p.oid::regprocedure::text;

SELECT p.proname AS function, string_agg(CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, ' ' ORDER BY g.grantee::regrole::text) AS may_call
FROM pg_proc AS p LEFT JOIN LATERAL aclexplode(p.proacl) AS g ON g.grantee <> p.proowner
WHERE p.pronamespace = 'totp'::regnamespace GROUP BY p.oid, p.proname ORDER BY p.proname;

-- Argument names and defaults are as documented.
SELECT p.proname, pg_get_function_arguments(p.oid) FROM pg_proc AS p
WHERE p.pronamespace = 'totp'::regnamespace ORDER BY 1, 2;

-- Only the intended readers have access to tables, views and sequences.
SELECT c.oid::regclass AS relation, c.relkind, c.relpersistence, r.rolname AS owner,
       (SELECT string_agg(CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END || '=' || g.privilege_type, ' ' ORDER BY 1)
        FROM aclexplode(c.relacl) AS g WHERE g.grantee <> c.relowner) AS grants
FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
WHERE c.relnamespace = 'totp'::regnamespace AND c.relkind IN ('r', 'v', 'S') ORDER BY c.relname COLLATE "C";

-- Everything has a comment: these two lists are empty.
SELECT p.oid::regprocedure AS without_comment FROM pg_proc AS p
WHERE p.pronamespace = 'totp'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass, a.attname AS without_comment FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'totp'::regnamespace AND c.relkind IN ('r', 'v', 'c')
  AND col_description(c.oid, a.attnum) IS NULL
  AND (a.attnum > 0 OR obj_description(c.oid, 'pg_class') IS NULL);

-- No text that is compared or sorted has an order that can change: this list is empty.
SELECT a.attrelid::regclass, a.attname AS not_in_order_of_bytes FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'totp'::regnamespace AND c.relkind IN ('r', 'v', 'i') AND a.attnum > 0
  AND a.attcollation NOT IN (0, '"C"'::regcollation)
UNION ALL SELECT NULL, typname FROM pg_type
WHERE typnamespace = 'totp'::regnamespace AND typtype = 'd' AND typcollation NOT IN (0, '"C"'::regcollation);

-- Nobody but its owner can use a type: who can, keeps it from being changed or dropped. This list is empty.
SELECT t.oid::regtype AS type, g.grantee::regrole FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS g
WHERE t.typnamespace = 'totp'::regnamespace AND t.typcategory <> 'A' AND g.grantee <> t.typowner;

-- Every table and sequence is included in dumps: this list is empty.
SELECT c.oid::regclass AS not_dumped FROM pg_class AS c, pg_extension AS e
WHERE e.extname = 'totp' AND c.relnamespace = 'totp'::regnamespace AND c.relkind IN ('r', 'S')
  AND NOT c.oid = ANY (e.extconfig);

-- Columns that a login changes are not indexed, so that updates can be HOT: this list is empty.
SELECT i.indexrelid::regclass, a.attname FROM pg_index AS i
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid IN ('totp.accounts'::regclass, 'totp.factors'::regclass)
  AND a.attname IN ('failures', 'locked_until', 'suspended', 'last_step', 'drift', 'last_used_at');

-- Settings: context, unit and range.
SELECT name, context, vartype, boot_val, coalesce(unit, '') AS unit, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'totp.%' ORDER BY name;
SELECT name FROM pg_settings WHERE name LIKE 'totp.%' AND (short_desc = '' OR coalesce(extra_desc, '') = '');
SET totp.no_such_setting = 1;

-- The same for schema totp_api: every function runs as totp_owner, on the session's account.
SELECT p.oid::regprocedure AS function, p.provolatile AS v, p.proparallel AS p, p.prosecdef AS definer, p.proisstrict AS strict,
       p.proleakproof AS leak, p.procost AS cost, array_to_string(p.proconfig, ' ') AS config, p.proowner::regrole AS owner,
       (SELECT string_agg(CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, ' ' ORDER BY g.grantee::regrole::text)
        FROM aclexplode(p.proacl) AS g WHERE g.grantee <> p.proowner) AS may_call
FROM pg_proc AS p WHERE p.pronamespace = 'totp_api'::regnamespace ORDER BY p.proname;
SELECT p.proname AS function, pg_get_function_arguments(p.oid) FROM pg_proc AS p
WHERE p.pronamespace = 'totp_api'::regnamespace ORDER BY 1;
SELECT p.oid::regprocedure AS without_comment FROM pg_proc AS p
WHERE p.pronamespace = 'totp_api'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT relname AS relation_in_totp_api FROM pg_class WHERE relnamespace = 'totp_api'::regnamespace;

-- Schemas: PUBLIC has USAGE on totp, and only users behind PostgREST have it on totp_api.
SELECT n.nspname, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee, g.privilege_type
FROM pg_namespace AS n, aclexplode(n.nspacl) AS g
WHERE n.nspname IN ('totp', 'totp_api') AND g.grantee <> n.nspowner ORDER BY 1, 2;
