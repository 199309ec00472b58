// Enrols users with better-auth. The arguments are the secret as BETTER_AUTH_SECRET has it, or
// several as BETTER_AUTH_SECRETS has them.
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { twoFactor } from "better-auth/plugins";
import { createOTP } from "@better-auth/utils/otp";
import pg from "pg";

const [secret, secrets] = process.argv.slice(2);
const versions = secrets?.split(",").map((entry) => {
  const [version, value] = entry.split(":");
  return { version: Number(version), value };
});
const pool = new pg.Pool({});
const options = (more) => ({
  database: pool,
  baseURL: "http://localhost",
  secret,
  emailAndPassword: { enabled: true },
  plugins: [twoFactor({ issuer: "Acme" })],
  ...more,
});
const auth = betterAuth(options());
await (await getMigrations(auth.options)).runMigrations();

// The cookies of a response, as the headers of the next request.
const headersOf = (headers, before = new Headers()) => {
  const cookies = new Map((before.get("cookie") ?? "").split("; ").filter(Boolean).map((c) => c.split(/=(.*)/s)));
  for (const cookie of headers.getSetCookie()) {
    const [name, value] = cookie.split(";")[0].split(/=(.*)/s);
    cookies.set(name, value);
  }
  return new Headers({ cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") });
};

const enrol = async (auth, name, confirms = true) => {
  const password = "a long password";
  const body = { name, email: `${name}@example.org`, password };
  const signedUp = await auth.api.signUpEmail({ body, returnHeaders: true });
  let headers = headersOf(signedUp.headers);
  const { totpURI, backupCodes } = await auth.api.enableTwoFactor({ body: { password }, headers });
  const person = { account: signedUp.response.user.id, uri: totpURI, backup_codes: backupCodes };
  if (!confirms) return person;
  const { rows: [row] } = await pool.query(
    'SELECT secret FROM "twoFactor" WHERE "userId" = $1', [person.account]);
  const key = Buffer.from(base32(new URL(totpURI).searchParams.get("secret")));
  const code = await createOTP(key).totp();
  const verified = await auth.api.verifyTOTP({ body: { code }, headers, returnHeaders: true });
  headers = headersOf(verified.headers, headers);
  await auth.api.verifyBackupCode({ body: { code: backupCodes[0] }, headers });
  return {
    ...person, spent_code: code, stored: row.secret,
    spent_backup_code: backupCodes[0], backup_codes: backupCodes.slice(1),
  };
};

const base32 = (text) => {
  const bits = [...text].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  return bits.match(/.{8}/g).map((byte) => parseInt(byte, 2));
};

const people = {
  one: await enrol(auth, "one"),
  two: await enrol(auth, "two"),
  unconfirmed: await enrol(auth, "new", false),
};
if (versions) people.versioned = await enrol(betterAuth(options({ secrets: versions })), "versioned");
console.log(JSON.stringify(people));
await pool.end();
