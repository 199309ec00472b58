// Two-step login with node-postgres and jose: password, then code, which returns a JSON Web Token.
//
//     npm install
//     PGHOST=... PGDATABASE=... PGUSER=... JWT_SECRET=... node login.mjs
//
// JWT_SECRET is the content of totp.jwt_secret_file. Your API server uses it to check tokens.
// The login role needs `GRANT totp_app TO <role>` and `GRANT EXECUTE ON FUNCTION
// totp.jwt_sign(jsonb) TO <role>`. The database needs `CREATE EXTENSION totp` and a key.

import assert from "node:assert/strict";
import { randomBytes, randomUUID, scryptSync, timingSafeEqual } from "node:crypto";
import { jwtVerify } from "jose";
import pg from "pg";

const db = new pg.Client();
await db.connect();

// Returns the only row of a query, or undefined.
const call = async (query, ...parameters) => (await db.query(query, parameters)).rows[0];

const slowHash = (password, salt) => scryptSync(password, salt, 64);

// Your table of users. Its key, as text, is the account.
await db.query(`
  CREATE TEMPORARY TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), login text UNIQUE, salt bytea, hash bytea)`);
const salt = randomBytes(16);
await db.query("INSERT INTO users (login, salt, hash) VALUES ('alice', $1, $2)",
  [salt, slowHash("correct horse", salt)]);

// The two requests that your backend handles. `browser` identifies the client: the value of a
// cookie that you set earlier.

// Checks name and password. Returns a token if no code is needed, otherwise a challenge.
async function firstStep(login, password, browser) {
  const user = await call("SELECT id::text AS account, salt, hash FROM users WHERE login = $1", login);
  // Takes just as long for an unknown name.
  const { account, salt, hash } = user ?? { salt: Buffer.alloc(16), hash: Buffer.alloc(64) };
  const isRight = timingSafeEqual(slowHash(password, salt), hash);
  if (!user || !isRight) return { error: "name or password is wrong" };
  const { enabled } = await call("SELECT totp.totp_enabled($1) AS enabled", account);
  if (!enabled) return { token: await signed(account, "pwd") };
  return call("SELECT totp.challenge_create($1, binding => $2) AS challenge", account, browser);
}

// Checks the challenge and a TOTP or backup code. Returns a token if both are right.
async function secondStep(challenge, code, browser) {
  const { verified, account, method, reason } = await call(
    "SELECT verified, account, method, reason FROM totp.challenge_verify($1, $2, $3)",
    challenge, code, browser);
  if (verified) return { token: await signed(account, method) };
  // refused, expired, spent: ask for the password again. invalid: another attempt. locked: later.
  return { error: reason === "invalid" && account === null ? "refused" : reason };
}

async function signed(account, method) {
  const aal = method === "pwd" ? "aal1" : "aal2";
  const claims = { sub: account, aal, role: "authenticated", jti: randomUUID() };  // jti: the session
  return (await call("SELECT totp.jwt_sign($1) AS token", claims)).token;
}

// What your API server does with the token.
const secret = new TextEncoder().encode(process.env.JWT_SECRET);
const checked = async ({ token }) =>
  (await jwtVerify(token, secret, { algorithms: ["HS256"] })).payload;

// Alice has no authenticator app yet, so the password is enough.
const { alice } = await call("SELECT id::text AS alice FROM users");
let claims = await checked(await firstStep("alice", "correct horse", "cookie"));
assert.deepEqual([claims.sub, claims.aal], [alice, "aal1"]);

// She turns it on: see examples/clients/two_factor.mjs. totp_code plays her phone.
const created = await call("SELECT secret FROM totp.totp_create($1, issuer => 'Acme')", alice);
const phone = async (wait) => (await call(
  "SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s') AS code",
  created.secret, wait)).code;
const { backup_codes } = await call(
  "SELECT backup_codes FROM totp.totp_confirm($1, $2)", alice, await phone(0));

// From now on, the password returns a challenge.
const wrong = { error: "name or password is wrong" };
assert.deepEqual(await firstStep("alice", "wrong", "cookie"), wrong);
assert.deepEqual(await firstStep("nobody", "wrong", "cookie"), wrong);
let { challenge } = await firstStep("alice", "correct horse", "cookie");
assert.deepEqual(await secondStep(challenge, "000000", "cookie"), { error: "invalid" });
const code = await phone(30);
assert.deepEqual(await secondStep(challenge, code, "another cookie"), { error: "refused" });
claims = await checked(await secondStep(challenge, code, "cookie"));
assert.deepEqual([claims.sub, claims.aal], [alice, "aal2"]);
assert(claims.exp > Date.now() / 1000);
assert.deepEqual(await secondStep(challenge, backup_codes[0], "cookie"), { error: "spent" });

// Without her phone, a backup code works.
({ challenge } = await firstStep("alice", "correct horse", "cookie"));
claims = await checked(await secondStep(challenge, backup_codes[0], "cookie"));
assert.equal(claims.sub, alice);
console.log("logged in:", claims);
await db.end();
