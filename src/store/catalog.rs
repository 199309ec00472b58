//! The extension's objects and settings in the system catalogs, for `preflight`.

use super::plan::{BIGINT, Row, Statement, TEXT, TEXTS, TIME, plans};
use crate::error::Error;
use crate::pure::configuration::Configured;
use crate::pure::hba::Rule;
use crate::pure::timestamp::Timestamp;
use pgrx::datum::DatumWithOid;

/// Returns a role's name if it is ASCII: anything else might not be text in the database's encoding.
macro_rules! role {
    ($oid:literal) => {
        concat!(
            "(SELECT CASE WHEN rolname ~ '^[ -~]+$' THEN quote_ident(rolname)
                     ELSE 'OID ' || oid END
              FROM pg_roles WHERE oid = ",
            $oid,
            ")"
        )
    };
}

plans! {
    COLLATIONS() =
        "WITH collated (name, order_of) AS (
             SELECT format('column %s.%s', attrelid::regclass, attname), attcollation
             FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = 'totp'::regnamespace AND relkind = 'r' AND attnum > 0
             UNION ALL
             SELECT format('index %s', indexrelid::regclass), unnest(indcollation::oid[])
             FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
             WHERE relnamespace = 'totp'::regnamespace
             UNION ALL
             SELECT format('domain %s', oid::regtype), typcollation
             FROM pg_type WHERE typnamespace = 'totp'::regnamespace AND typtype = 'd')
         SELECT DISTINCT name FROM collated
         WHERE order_of <> 0 AND order_of <> 'pg_catalog.\"C\"'::regcollation ORDER BY 1";
    NEW_ORDER() =
        "SELECT coalesce(
             datcollversion <> pg_database_collation_actual_version(oid), false)
         FROM pg_database WHERE datname = current_database()";
    MEMBERS(TEXT) =
        concat!(
            // Members of members as well.
            "WITH RECURSIVE memberships AS (
                 SELECT m.roleid, m.member, m.admin_option
                 FROM pg_auth_members AS m JOIN pg_roles AS ours ON ours.oid = m.roleid
                 WHERE CASE WHEN $1 = 'owner' THEN ours.rolname = 'totp_owner'
                     ELSE ours.rolname IN ('totp_app', 'totp_user', 'totp_admin', 'totp_auditor') END
                 UNION
                 SELECT m.roleid, m.member, m.admin_option
                 FROM memberships AS ours JOIN pg_auth_members AS m ON m.roleid = ours.member)
             SELECT format('%s of %s', ", role!("m.member"), ", ", role!("m.roleid"), ")
                    || CASE WHEN admin_option THEN ' with ADMIN OPTION' ELSE '' END
             FROM memberships AS m JOIN pg_roles AS member ON member.oid = m.member
             WHERE NOT member.rolsuper AND (admin_option OR $1 <> 'admins') ORDER BY 1"
        );
    GRANTS() =
        concat!(
            "WITH objects (name, owner, acl) AS (
                 SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || oid::regclass,
                        relowner, relacl
                 FROM pg_class
                 WHERE relnamespace = 'totp'::regnamespace AND relkind IN ('r', 'v', 'S')
                 UNION ALL
                 SELECT format('column %s.%s', attrelid::regclass, attname), relowner, attacl
                 FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                 WHERE relnamespace = 'totp'::regnamespace AND attacl IS NOT NULL
                 UNION ALL
                 SELECT 'type ' || oid::regtype, typowner, coalesce(typacl, acldefault('T', typowner))
                 FROM pg_type
                 WHERE typnamespace = 'totp'::regnamespace AND (typcategory <> 'A' OR typtype = 'd')
                 UNION ALL
                 SELECT 'function ' || oid::regprocedure, proowner,
                        coalesce(proacl, acldefault('f', proowner))
                 FROM pg_proc
                 WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
                   AND proname <> ALL ('{help,totp_code,totp_check,totp_uri,qr_svg,qr_text}')
                 UNION ALL
                 SELECT 'schema ' || nspname, nspowner, nspacl FROM pg_namespace
                 WHERE nspname IN ('totp', 'totp_api'))
             SELECT format('%s on %s to %s', privilege_type, name,
                           coalesce(", role!("grantee"), ", 'PUBLIC'))
             FROM objects, aclexplode(acl)
             WHERE grantee <> owner AND grantee <> ALL (ARRAY(
                       SELECT oid FROM pg_roles WHERE rolname IN (
                           'totp_owner', 'totp_app', 'totp_user', 'totp_admin', 'totp_auditor')
                       OR rolname = 'pg_monitor'
                          AND name IN ('table totp.metrics', 'function totp.metric_values()')
                       OR rolname = 'anon' AND (name = 'schema totp_api'
                                                OR name LIKE 'function totp_api.challenge_verify(%')))
               AND NOT (grantee = 0 AND name = 'schema totp' AND privilege_type = 'USAGE')
             ORDER BY 1"
        );
    OWNERS() =
        concat!(
            "WITH objects (name, owner, is_ours) AS (
                 SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || oid::regclass,
                        relowner, true
                 FROM pg_class
                 WHERE relnamespace = 'totp'::regnamespace AND relkind IN ('r', 'v', 'S')
                 UNION ALL
                 SELECT 'function ' || oid::regprocedure, proowner, prosecdef FROM pg_proc
                 WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
                 UNION ALL
                 SELECT 'type ' || oid::regtype, typowner, false FROM pg_type
                 WHERE typnamespace = 'totp'::regnamespace AND typtype IN ('d', 'c')
                   AND (typcategory <> 'A' OR typtype = 'd') AND typrelid NOT IN (
                       SELECT oid FROM pg_class WHERE relkind IN ('r', 'v', 'S'))
                 UNION ALL
                 SELECT 'schema ' || nspname, nspowner, false FROM pg_namespace
                 WHERE nspname IN ('totp', 'totp_api')
                 UNION ALL
                 SELECT 'extension totp', extowner, false FROM pg_extension WHERE extname = 'totp')
             SELECT format('%s belongs to %s', name, ", role!("owner"), ")
             FROM objects
             WHERE CASE WHEN is_ours THEN owner IS DISTINCT FROM (
                       SELECT oid FROM pg_roles WHERE rolname = 'totp_owner')
                   ELSE owner NOT IN (SELECT oid FROM pg_roles WHERE rolsuper) END
             ORDER BY 1"
        );
    ROLE_ATTRIBUTES() =
        "SELECT format('%s %s', ours, CASE WHEN rolname IS NULL THEN 'does not exist' ELSE concat_ws(' ',
                    CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolsuper THEN 'SUPERUSER' END,
                    CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                    CASE WHEN rolcreatedb THEN 'CREATEDB' END,
                    CASE WHEN rolreplication THEN 'REPLICATION' END,
                    CASE WHEN rolbypassrls THEN 'BYPASSRLS' END) END)
         FROM unnest('{totp_owner,totp_app,totp_user,totp_admin,totp_auditor}'::text[]) AS ours
         LEFT JOIN pg_roles ON rolname = ours
         WHERE rolname IS NULL OR rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb
            OR rolreplication OR rolbypassrls
         ORDER BY 1";
    MISSING_ROLES(TEXTS) =
        "SELECT name FROM unnest($1) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles)";
    // This session's value, then what is set for databases and roles.
    CONFIGURED(TEXT) =
        concat!(
            "SELECT '' AS place, name, setting, source FROM pg_settings
             WHERE name ~* $1 AND source <> 'default' AND setting IS DISTINCT FROM boot_val
             UNION ALL
             SELECT '', name, current_setting(name, true), 'library not loaded'
             FROM unnest('{auto_explain.log_min_duration,auto_explain.log_verbose,
                           auto_explain.log_parameter_max_length,pgaudit.log_parameter}'::text[]) AS name
             WHERE name ~* $1 AND current_setting(name, true) <> ''
               AND name NOT IN (SELECT name FROM pg_settings)
             UNION ALL
             SELECT coalesce(nullif(concat_ws(' ', 'role ' || ", role!("setrole"), ",
                 CASE WHEN datname ~ '^[ -~]+$' THEN 'database ' || quote_ident(datname)
                      WHEN setdatabase <> 0 THEN 'database OID ' || setdatabase END), ''), 'all roles'),
                    split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1), ''
             FROM pg_db_role_setting LEFT JOIN pg_database ON pg_database.oid = setdatabase,
                  unnest(setconfig) AS entry
             WHERE split_part(entry, '=', 1) ~* $1 AND entry ~ '^[ -~]*$'
             ORDER BY 1, 2"
        );
    // As in the view metrics.
    AUDIT_IS_UNSEALED() =
        "SELECT EXISTS (
             SELECT FROM totp.audit_events AS e
             LEFT JOIN (SELECT origin, max(to_xid) AS to_xid FROM totp.audit_seals GROUP BY origin)
                 AS sealed ON sealed.origin = e.origin
             WHERE (sealed.to_xid IS NULL OR e.xid >= sealed.to_xid)
               AND e.id > coalesce((
                   SELECT max(s.next_id) FROM totp.audit_seals AS s,
                       (SELECT origin, to_xid FROM totp.audit_seals ORDER BY id DESC LIMIT 1) AS last
                   WHERE s.origin = last.origin AND s.next_xid <= last.to_xid), 0)
               AND e.at < now() - interval '1 day')";
    LAST_SEAL() =
        "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM totp.audit_seals
         ORDER BY id DESC LIMIT 1";
    UNSIGNED(TEXTS) =
        "SELECT known FROM unnest($1) AS known
         WHERE NOT EXISTS (SELECT FROM totp.audit_seals WHERE known = key_id)
           AND NOT EXISTS (SELECT FROM totp.audit_events WHERE key_id IN (known, ''))";
    EXPIRED(TIME, TIME, TIME, TIME, BIGINT) =
        "SELECT count(*) FROM (
             SELECT FROM totp.factors WHERE state = 'pending' AND created_at <= $1
             UNION ALL SELECT FROM totp.tokens WHERE expires_at <= $2
             UNION ALL SELECT FROM totp.sessions WHERE verified_at <= $3
             UNION ALL SELECT FROM totp.events WHERE at <= $4
             LIMIT $5) AS expired";
    CAN_READ_HBA() =
        "SELECT has_function_privilege('pg_hba_file_rules()', 'EXECUTE')";
    HBA_RULES() =
        "SELECT line_number, type, array_to_string(database, ','), 'all' = ANY (user_name),
                address, netmask, auth_method
         FROM pg_hba_file_rules() WHERE error IS NULL AND type LIKE 'host%'
           AND concat(database, address) ~ '^[ -~]*$'";
    STANDBYS() =
        "SELECT coalesce(nullif(application_name, ''), 'process ' || pid), state IS NULL,
                extract(epoch FROM reply_time - clock_timestamp())::double precision
         FROM pg_stat_replication WHERE state IS NULL OR state <> 'backup'";
    AUDIT_IS_BEHIND() =
        "SELECT coalesce((SELECT max(id) FROM totp.audit_events)
                         > (SELECT last_value FROM totp.audit_events_id_seq), false)";
}

fn names(row: &Row) -> Result<String, Error> {
    row.get(1)
}

/// Returns the columns, indexes and domains whose sort order can change.
pub fn other_collations() -> Result<Vec<String>, Error> {
    COLLATIONS.rows(&[], names)
}

/// Returns whether the sort order of the database's own collation has changed since its version was
/// last recorded.
pub fn has_new_order() -> Result<bool, Error> {
    NEW_ORDER.value(&[])
}

/// Returns which of the extension's roles are missing, or have attributes that they must not have.
pub fn role_attributes() -> Result<Vec<String>, Error> {
    ROLE_ATTRIBUTES.rows(&[], names)
}

/// Returns the members of totp_owner.
pub fn members_of_owner() -> Result<Vec<String>, Error> {
    MEMBERS.rows(&["owner".into()], names)
}

/// Returns who can grant the other roles.
pub fn admins_of_roles() -> Result<Vec<String>, Error> {
    MEMBERS.rows(&["admins".into()], names)
}

/// Returns the members of the other roles.
pub fn members_of_roles() -> Result<Vec<String>, Error> {
    MEMBERS.rows(&["all".into()], names)
}

/// Returns privileges that the extension did not grant.
pub fn other_grants() -> Result<Vec<String>, Error> {
    GRANTS.rows(&[], names)
}

/// Returns objects that do not belong to totp_owner, or to a superuser where that is enough.
pub fn other_owners() -> Result<Vec<String>, Error> {
    OWNERS.rows(&[], names)
}

/// Returns which of the roles do not exist.
pub fn missing_roles(roles: Vec<String>) -> Result<Vec<String>, Error> {
    MISSING_ROLES.rows(&[DatumWithOid::from(roles)], names)
}

/// Returns settings whose name matches a regular expression and whose value is not the default: in
/// this session, and for databases and roles.
pub fn configured(pattern: &str) -> Result<Vec<Configured>, Error> {
    CONFIGURED.rows(&[pattern.into()], |row| {
        Ok(Configured {
            place: row.get(1)?,
            name: row.get(2)?,
            value: row.get(3)?,
            source: row.get(4)?,
        })
    })
}

/// Returns whether entries of the audit trail have not been sealed for a day.
pub fn is_audit_unsealed() -> Result<bool, Error> {
    AUDIT_IS_UNSEALED.value(&[])
}

/// Returns when the last seal was made, in UTC.
pub fn last_seal() -> Result<Option<String>, Error> {
    LAST_SEAL.row(&[], names)
}

/// Returns which of the keys have signed nothing in the audit trail.
pub fn keys_without_signature(ids: Vec<String>) -> Result<Vec<String>, Error> {
    if ids.is_empty() {
        return Ok(ids);
    }
    UNSIGNED.rows(&[DatumWithOid::from(ids)], names)
}

/// The times up to which rows count as expired.
pub struct Expiry {
    /// For pending factors, when they were created.
    pub pending: Timestamp,
    /// For tokens, when they expired.
    pub tokens: Timestamp,
    /// For sessions, when they were last verified.
    pub sessions: Timestamp,
    /// For events, when they were written.
    pub events: Timestamp,
}

/// Counts expired rows, at most `limit` of them.
pub fn expired_rows(expiry: &Expiry, limit: i64) -> Result<i64, Error> {
    let Expiry { pending, tokens, sessions, events } = *expiry;
    let times = [pending, tokens, sessions, events].map(DatumWithOid::from);
    let [pending, tokens, sessions, events] = times;
    EXPIRED.value(&[pending, tokens, sessions, events, limit.into()])
}

/// Returns the rules of pg_hba.conf for TCP/IP. Returns `None` if the current role cannot read it.
pub fn hba_rules() -> Result<Option<Vec<Rule>>, Error> {
    if !CAN_READ_HBA.value(&[])? {
        return Ok(None);
    }
    let read = |row: &Row| {
        Ok(Rule {
            line: row.get(1)?,
            kind: row.get(2)?,
            databases: row.get(3)?,
            is_for_all_roles: row.get(4)?,
            address: row.optional(5)?.unwrap_or_default(),
            netmask: row.optional(6)?,
            method: row.get(7)?,
        })
    };
    HBA_RULES.rows(&[], read).map(Some)
}

/// A standby that is connected to this server.
pub struct Standby {
    /// Its name.
    pub name: String,
    /// Whether the current role cannot see its state.
    pub is_hidden: bool,
    /// By how many seconds the time of its last reply is ahead of this server's time.
    pub seconds_ahead: Option<f64>,
}

/// Returns the standbys of this server.
pub fn standbys() -> Result<Vec<Standby>, Error> {
    STANDBYS.rows(&[], |row| {
        Ok(Standby { name: row.get(1)?, is_hidden: row.get(2)?, seconds_ahead: row.optional(3)? })
    })
}

/// Returns whether the sequence of the audit trail's IDs is behind them.
pub fn is_audit_sequence_behind() -> Result<bool, Error> {
    AUDIT_IS_BEHIND.value(&[])
}
