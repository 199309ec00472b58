// The whole job through node-postgres with bind parameters. Prints what it did as JSON.
// Codes are computed here from the URI alone, with nothing but Node's own HMAC.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import pg from "pg";

const [account] = process.argv.slice(2);
const client = new pg.Client();
await client.connect();

async function row(text, ...values) {
  // A name makes node-postgres prepare the statement on the server.
  const { rows } = await client.query({ name: text.slice(0, 60), text, values });
  assert.equal(rows.length, 1);
  return rows[0];
}

function fromBase32(text) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...text].map((c) => alphabet.indexOf(c).toString(2).padStart(5, "0")).join("");
  return Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
}

function code(uri, steps) {
  const { searchParams } = new URL(uri);
  const counter = Buffer.alloc(8);
  const period = Number(searchParams.get("period"));
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000 / period) + steps));
  const algorithm = searchParams.get("algorithm").toLowerCase();
  const mac = createHmac(algorithm, fromBase32(searchParams.get("secret"))).update(counter).digest();
  const number = mac.readUInt32BE(mac.at(-1) & 15) & 0x7fffffff;
  const digits = Number(searchParams.get("digits"));
  return String(number % 10 ** digits).padStart(digits, "0");
}

const created = await row(
  "SELECT * FROM totp.totp_create($1, issuer => $2, algorithm => $3, digits => $4)",
  account, "Acme & Söhne", "SHA256", 8);
assert.match(created.qr_svg, /^<svg /);

const first = code(created.uri, 0);
const confirmed = await row(
  "SELECT * FROM totp.totp_confirm(account => $1, code => $2)", account, first);
assert.deepEqual([confirmed.confirmed, confirmed.reason], [true, "ok"]);
assert.equal(confirmed.backup_codes.length, 10);

const verify = async (value) =>
  (await row("SELECT totp.totp_verify(account => $1, code => $2) AS verified", account, value)).verified;
const next = code(created.uri, 1);
assert.equal(await verify(first), false);
assert.equal(await verify(next), true);
assert.equal(await verify(next), false);
assert.equal(await verify(null), false);

const attempt = "SELECT * FROM totp.totp_attempt($1, $2)";
const recovered = await row(attempt, account, confirmed.backup_codes[0]);
assert.deepEqual(
  [recovered.verified, recovered.method, recovered.backup_codes_left], [true, "backup", 9]);

const rotated = await row(
  "SELECT totp.backup_rotate($1, $2) AS codes", account, confirmed.backup_codes[1]);
assert.equal(rotated.codes.length, 10);
const status = await row("SELECT * FROM totp.totp_status($1)", account);
assert.deepEqual([status.enabled, status.factors, status.backup_codes_left], [true, 1, 10]);

for (let failures = 1; failures <= 5; failures += 1) {
  const wrong = await row(attempt, account, confirmed.backup_codes[2]);
  assert.equal(wrong.reason, "invalid");
}
const locked = await row(attempt, account, rotated.codes[0]);
assert.equal(locked.reason, "locked");
assert(locked.retry_after.seconds > 0);

await assert.rejects(row("SELECT totp.totp_enabled($1)", ""), { code: "22023" });
await client.end();
console.log(JSON.stringify({ verified: true, locked: locked.reason }));
