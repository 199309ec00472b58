//! The five calls with sqlx. README.md says how to run this.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, Result, Row};

/// The row of an answer; None is a no.
async fn row(
    db: &mut PgConnection,
    query: &'static str,
    parameters: &[&str],
) -> Result<Option<PgRow>> {
    let mut call = sqlx::query(query);
    for value in parameters {
        call = call.bind(*value);
    }
    call.fetch_optional(db).await
}

async fn is_row(db: &mut PgConnection, query: &'static str, parameters: &[&str]) -> Result<bool> {
    Ok(row(db, query, parameters).await?.is_some())
}

async fn phone(db: &mut PgConnection, secret: &str, wait: &str) -> Result<String> {
    let query = "SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s')";
    Ok(row(db, query, &[secret, wait]).await?.expect("a code").get(0))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let db = &mut PgConnectOptions::new().connect().await?;
    let account = &std::env::args().nth(1).expect("usage: two_factor ACCOUNT");

    let created = row(db, "SELECT secret, uri FROM totp.totp_create($1)", &[account]).await?;
    let secret: String = created.expect("a secret").get("secret");
    let confirm =
        "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm($1, $2) WHERE confirmed";
    println!("wrong code confirms: {}", is_row(db, confirm, &[account, "00000000"]).await?);
    let code = phone(db, &secret, "0").await?;
    let codes: String = row(db, confirm, &[account, &code]).await?.expect("confirmed").get(0);
    let codes: Vec<&str> = codes.split(' ').collect();
    println!("backup codes: {}", codes.len());

    let enabled = "SELECT 1 WHERE totp.totp_enabled($1)";
    println!("needs a code: {}", is_row(db, enabled, &[account]).await?);
    let attempt = "SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified";
    println!("wrong code: {}", is_row(db, attempt, &[account, "00000000"]).await?);
    let code = phone(db, &secret, "30").await?;
    println!("right code: {}", is_row(db, attempt, &[account, &code]).await?);
    let backup = "SELECT 1 WHERE totp.backup_verify($1, $2)";
    println!("backup code: {}", is_row(db, backup, &[account, codes[0]]).await?);
    println!("same again: {}", is_row(db, backup, &[account, codes[0]]).await?);

    let wait =
        "SELECT retry_after_seconds FROM totp.totp_attempt($1, $2) WHERE retry_after_seconds > 0";
    let mut locked = None;
    for _ in 0..5 {
        locked = row(db, wait, &[account, "00000000"]).await?;
    }
    println!("locked for seconds: {}", locked.expect("a lock").get::<i32, _>(0));
    Ok(())
}
