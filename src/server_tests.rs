//! Tests that need a running server, and run inside it.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use pgrx::prelude::*;

/// Test objects, in a schema that no release contains.
#[pg_schema]
mod tests {
    use super::*;
    use crate::server::Text;
    use crate::{clock, guard, settings};

    /// Panics as a bug would, with and without a lock held.
    #[pg_extern]
    fn fail(how: &str) -> bool {
        match how {
            "panic" => panic!("a bug"),
            "index" => Vec::<bool>::new()[how.len()],
            "under a lock" => guard::panic_under_lock(),
            _ => true,
        }
    }

    /// Returns the size of an argument, or -1 if it was not read.
    #[pg_extern]
    fn size(text: Option<Text>) -> Option<i32> {
        match text? {
            Text::Fits(text) => i32::try_from(text.len()).ok(),
            Text::TooManyBytes | Text::NotUtf8 => Some(-1),
        }
    }

    fn sqlstate(statement: &str) -> Option<String> {
        Spi::run(
            "CREATE OR REPLACE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN EXECUTE statement; RETURN '00000'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$",
        )
        .unwrap();
        Spi::get_one_with_args("SELECT pg_temp.sqlstate_of($1)", &[statement.into()]).unwrap()
    }

    #[pg_test]
    fn a_panic_is_an_error_of_one_statement() {
        for how in ["panic", "index", "under a lock"] {
            let found = sqlstate(&format!("SELECT tests.fail('{how}')"));
            assert_eq!(found.as_deref(), Some("XX000"), "{how}");
        }
        assert_eq!(Spi::get_one("SELECT tests.fail('not at all')"), Ok(Some(true)));
        // The lock was released: a call that needs it succeeds.
        assert!(guard::usage().is_some());
    }

    #[pg_test]
    fn a_text_is_measured_before_it_is_read() {
        let size = |sql: &str| Spi::get_one::<i32>(&format!("SELECT tests.size({sql})")).unwrap();
        assert_eq!(size("NULL"), None);
        assert_eq!(size("''"), Some(0));
        assert_eq!(size("repeat('x', 4096)"), Some(4096));
        assert_eq!(size("repeat('x', 4097)"), Some(-1));
        // Compressed, and stored out of line.
        Spi::run("CREATE TEMP TABLE big AS SELECT repeat('x', 5000) AS small, repeat('x', 100000000) AS large")
            .unwrap();
        let stored = |column: &str| {
            Spi::get_one::<i32>(&format!("SELECT tests.size({column}) FROM big")).unwrap()
        };
        assert_eq!(stored("small"), Some(-1));
        assert_eq!(stored("large"), Some(-1));
    }

    #[pg_test]
    fn the_clock_advances_within_a_transaction() {
        let before = clock::now().unwrap();
        Spi::run("SELECT pg_sleep(0.01)").unwrap();
        let after = clock::now().unwrap();
        assert!(after.micros_since(before) >= 10_000);
        Spi::run("SET totp.clock = '2030-01-01 00:00:00+00'").unwrap();
        assert_eq!(clock::now().unwrap().micros(), 1_893_456_000_000_000);
        assert!(clock::system() >= after);
    }

    #[pg_test]
    fn the_library_is_preloaded() {
        assert!(guard::is_on());
        assert!(guard::started_at().is_some_and(|start| start <= clock::system()));
        assert_eq!(settings::guard_slots(), 65_536);
    }

    #[pg_test(error = "cannot verify or change anything in a read-only transaction")]
    fn a_read_only_transaction_is_refused() {
        Spi::run("SET transaction_read_only = on").unwrap();
        Spi::run("SELECT totp.totp_verify('alice', '123456')").unwrap();
    }
}
