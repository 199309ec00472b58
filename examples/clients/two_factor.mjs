// The five calls with node-postgres. README.md says how to run this.

import pg from "pg";

const db = new pg.Client();
await db.connect();
const account = process.argv[2];

// The row of an answer; undefined is a no.
const row = async (query, ...parameters) => (await db.query(query, parameters)).rows[0];
const isRow = async (...call) => await row(...call) !== undefined;

const { secret } = await row("SELECT secret, uri FROM totp.totp_create($1)", account);
const phone = async (wait) => (await row(
  "SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s') AS code", secret, wait)).code;

const confirm = "SELECT array_to_string(backup_codes, ' ') AS codes FROM totp.totp_confirm($1, $2) WHERE confirmed";
console.log("wrong code confirms:", await isRow(confirm, account, "00000000"));
const codes = (await row(confirm, account, await phone(0))).codes.split(" ");
console.log("backup codes:", codes.length);

console.log("needs a code:", await isRow("SELECT 1 WHERE totp.totp_enabled($1)", account));
const attempt = "SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified";
console.log("wrong code:", await isRow(attempt, account, "00000000"));
console.log("right code:", await isRow(attempt, account, await phone(30)));
const backup = "SELECT 1 WHERE totp.backup_verify($1, $2)";
console.log("backup code:", await isRow(backup, account, codes[0]));
console.log("same again:", await isRow(backup, account, codes[0]));

const wait = "SELECT retry_after_seconds AS seconds FROM totp.totp_attempt($1, $2) WHERE retry_after_seconds > 0";
let locked;
for (let i = 0; i < 5; i++) locked = await row(wait, account, "00000000");
console.log("locked for seconds:", locked.seconds);
await db.end();
