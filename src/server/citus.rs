//! Citus, which spreads a database over several nodes.

use crate::error::Error;
use pgrx::pg_sys::{self, InvalidOid, Oid};
use std::ffi::CStr;

/// The extension's tables.
const TABLES: [&CStr; 13] = [
    c"accounts",
    c"factors",
    c"backup_codes",
    c"hardware_tokens",
    c"decoys",
    c"tokens",
    c"sessions",
    c"audit_events",
    c"audit_seals",
    c"events",
    c"requirements",
    c"approvals",
    c"passes",
];

/// Refuses nodes other than the coordinator, and tables that Citus manages. Citus creates the
/// extension on each node, with empty tables: accounts would seem to have no second factor there.
/// Without Citus, this is one lookup in a cache.
pub fn require_local_tables() -> Result<(), Error> {
    let schema = Oid::from(pg_sys::PG_CATALOG_NAMESPACE);
    let Some(groups) = relation(schema, c"pg_dist_local_group", pg_sys::RELKIND_RELATION) else {
        return Ok(());
    };
    // Group 0 is the coordinator.
    if find(groups, c"groupid", None, InvalidOid).is_some_and(|group| group as i32 != 0) {
        return Err(Error::CitusNode);
    }
    let Some(managed) = relation(schema, c"pg_dist_partition", pg_sys::RELKIND_RELATION) else {
        return Ok(());
    };
    let index = relation(schema, c"pg_dist_partition_logical_relid_index", pg_sys::RELKIND_INDEX)
        .unwrap_or(InvalidOid);
    // SAFETY: a catalog lookup with a C string.
    let schema = unsafe { pg_sys::get_namespace_oid(c"totp".as_ptr(), true) };
    let is_managed = |name: &CStr| {
        relation(schema, name, pg_sys::RELKIND_RELATION)
            .is_some_and(|table| find(managed, c"logicalrelid", Some(table), index).is_some())
    };
    if TABLES.into_iter().any(is_managed) { Err(Error::CitusTable) } else { Ok(()) }
}

/// A table or an index, by schema and name.
fn relation(schema: Oid, name: &CStr, kind: u8) -> Option<Oid> {
    // SAFETY: catalog lookups with a C string; a missing object yields the invalid OID, and no
    // kind.
    unsafe {
        let found = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (pg_sys::get_rel_relkind(found) as u8 == kind).then_some(found)
    }
}

/// An integer or OID in a catalog column: from the first row, or from the row that has this key in
/// the column. Like all catalog lookups, it needs no privilege.
fn find(table: Oid, column: &CStr, key: Option<Oid>, index: Oid) -> Option<usize> {
    // SAFETY: the table is open until its scan has ended. The scan key lives longer than the scan.
    // A key that is an oid and a datum that is read as a number are passed by value.
    unsafe {
        let number = pg_sys::get_attnum(table, column.as_ptr());
        if number <= 0 {
            return None;
        }
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let mut scan_key = pg_sys::ScanKeyData::default();
        if let Some(key) = key {
            let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
            let is_same_oid = pg_sys::F_OIDEQ.into();
            pg_sys::ScanKeyInit(&mut scan_key, number, equal, is_same_oid, key.into());
        }
        let catalog = pg_sys::table_open(table, lock);
        let scan = pg_sys::systable_beginscan(
            catalog,
            index,
            index != InvalidOid,
            std::ptr::null_mut(),
            i32::from(key.is_some()),
            &mut scan_key,
        );
        let row = pg_sys::systable_getnext(scan);
        let mut is_null = true;
        let value = (!row.is_null())
            .then(|| pg_sys::heap_getattr(row, number.into(), (*catalog).rd_att, &mut is_null));
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
        value.filter(|_| !is_null).map(|value| value.value())
    }
}
