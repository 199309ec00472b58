// Two-factor authentication for one account, from enrolment to recovery, with node-postgres.
//
//     npm install
//     PGHOST=... PGDATABASE=... PGUSER=... node two_factor.mjs
//
// The login role needs `GRANT totp_app TO <role>`. The database needs `CREATE EXTENSION totp` and a
// key.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import pg from "pg";

// Outside BEGIN, each call is a transaction. Inside, COMMIT even after a refused code: your
// transaction counts the failure. Put a payment and the code that authorizes it in one transaction.
const db = new pg.Client();
await db.connect();

// Returns the only row of a query. Pass codes as parameters; never put them into SQL.
const call = async (query, ...parameters) => (await db.query(query, parameters)).rows[0];

// Plays the authenticator app. In your application, this is an input field.
const phone = async (secret, wait = 0) => {
  const query = "SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s') AS code";
  return (await call(query, secret, wait)).code;
};

// Your own key for the user, as text. Prefer one that never changes to an email address.
const account = `example-${randomUUID()}`;

// 1. A logged-in user turns it on. Show the QR code, and the secret to type in; store neither.
const { secret, uri, qr_svg } = await call(
  "SELECT * FROM totp.totp_create($1, issuer => 'Acme', account_name => 'alice')", account);
console.log((await call("SELECT totp.qr_text($1) AS picture", uri)).picture);
console.log(`secret ${secret}, QR code of ${qr_svg.length} bytes`);

// 2. The first code proves that the app works, and returns the backup codes: show them once.
const { confirmed, backup_codes, reason } = await call(
  "SELECT * FROM totp.totp_confirm($1, $2)", account, await phone(secret));
assert(confirmed, reason);
console.log("backup codes:", ...backup_codes);

// 3. A login, after the password check: is a code needed?
assert((await call("SELECT totp.totp_enabled($1)", account)).totp_enabled);

// 4. Yes: check the code that was typed. The first is spent, so this is the phone's next one.
const code = await phone(secret, 30);
const verify = async (code) =>
  (await call("SELECT totp.totp_verify($1, $2) AS verified", account, code)).verified;
assert.equal(await verify(code), true);
assert.equal(await verify(code), false, "a code is accepted once");

// totp_attempt accepts both kinds of code from one input field, and says what to tell the user.
const verdict = await call(
  "SELECT verified, reason, retry_after FROM totp.totp_attempt($1, $2)", account, "000000");
console.log("a wrong code:", verdict);

// 5. The phone is lost: a backup code logs in, once.
const { used } = await call("SELECT totp.backup_verify($1, $2) AS used", account, backup_codes[0]);
assert.equal(used, true);
const { left } = await call("SELECT totp.backup_remaining($1) AS left", account);
console.log("backup codes left:", left);

// A wrong code is never an error. After 55P03, try again; the others are for your log.
await call("SELECT totp.totp_verify($1, $2)", "", code)
  .catch((error) => console.log("an error:", error.code, error.message));

// Turning it off requires a code, too.
const { off } = await call("SELECT totp.totp_disable($1, $2) AS off", account, backup_codes[1]);
assert.equal(off, true);
await db.end();
