// A JSON API with two-step login: Express and node-postgres. README.md says how to run it.

import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import express from "express";
import pg from "pg";

const pool = new pg.Pool();
// The row of an answer; undefined is a no. Outside BEGIN, each call is a transaction, which commits.
const row = async (query, ...parameters) => (await pool.query(query, parameters)).rows[0];
const slowHash = promisify(scrypt);

const app = express();
app.use(express.json({ limit: "16kb" }));
// Sessions by cookie. A site of several processes keeps them in the database.
const sessions = new Map();
const COOKIE = { httpOnly: true, secure: true, sameSite: "strict", path: "/" };
const start = (response, session) => {
  const id = randomBytes(32).toString("base64url");
  sessions.set(id, session);
  response.cookie("__Host-session", id, COOKIE);
};
app.use((request, response, next) => {
  const [, id] = /(?:^|; )__Host-session=([\w-]+)/.exec(request.headers.cookie ?? "") ?? [];
  request.session = sessions.get(id) ?? {};
  // Another site's form cannot send JSON.
  if (request.method === "POST" && !request.is("json")) return response.sendStatus(415);
  next();
});
const forUsers = (request, response, next) =>
  request.session.user ? next() : response.status(401).json({ error: "log in first" });
const text = (value) => typeof value === "string" ? value : "";

app.post("/signup", async (request, response) => {
  const [email, password] = [text(request.body.email).toLowerCase(), text(request.body.password)];
  if (!email.includes("@") || password.length < 10) return response.status(400).json({ error: "email or password" });
  const salt = randomBytes(16);
  const user = await row("INSERT INTO users (email, salt, hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id",
    email, salt, await slowHash(password, salt, 64));
  if (!user) return response.status(409).json({ error: "there is such a user" });
  start(response, { user: user.id });
  response.status(201).json({});
});

app.post("/login", async (request, response) => {
  const user = await row("SELECT id::text, salt, hash FROM users WHERE email = $1", text(request.body.email).toLowerCase());
  // Takes as long for an unknown name.
  const { salt, hash } = user ?? { salt: Buffer.alloc(16), hash: Buffer.alloc(64) };
  const isRight = timingSafeEqual(await slowHash(text(request.body.password), salt, 64), hash);
  if (!user || !isRight) return response.status(401).json({ error: "email or password is wrong" });
  if (!await row("SELECT 1 WHERE totp.totp_enabled($1)", user.id)) {
    start(response, { user: user.id });
    return response.json({ next: "home" });
  }
  const binding = randomBytes(16).toString("hex");
  const { token } = await row("SELECT totp.challenge_create($1, binding => $2) AS token", user.id, binding);
  start(response, { challenge: token, binding });
  response.json({ next: "code" });
});

app.post("/code", async (request, response) => {
  const { challenge, binding } = request.session;
  const verdict = await row("SELECT verified, account, reason, retry_after_seconds FROM totp.challenge_verify($1, $2, $3)",
    challenge, text(request.body.code), binding);
  if (verdict.verified) {
    start(response, { user: verdict.account });
    return response.json({ next: "home" });
  }
  if (verdict.retry_after_seconds) response.set("Retry-After", String(verdict.retry_after_seconds));
  const isLocked = verdict.retry_after_seconds !== null;
  // invalid: another attempt. expired, spent, or of nobody: log in again.
  const isOver = !verdict.account || ["expired", "spent"].includes(verdict.reason);
  response.status(isLocked ? 429 : 401).json({ error: isOver ? "log in again" : verdict.reason });
});

app.post("/enrol", forUsers, async (request, response) => {
  const { user } = request.session;
  // Whoever has an app already gives a code of it first.
  if (await row("SELECT 1 WHERE totp.totp_enabled($1)", user)
      && !await row("SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified", user, text(request.body.code))) {
    return response.status(403).json({ error: "code" });
  }
  const created = await row(`SELECT c.secret, c.uri, c.qr_svg FROM users, totp.totp_create(
      id::text, issuer => 'Acme', account_name => email, reuse => true) AS c WHERE id = $1`, user);
  response.json(created);
});

app.post("/confirm", forUsers, async (request, response) => {
  const answer = await row("SELECT confirmed, backup_codes, reason FROM totp.totp_confirm($1, $2)",
    request.session.user, text(request.body.code));
  response.status(answer.confirmed ? 200 : 422).json(answer);
});

app.get("/me", forUsers, async (request, response) => {
  response.json(await row("SELECT enabled, backup_codes_left FROM totp.totp_status($1)", request.session.user));
});

// Express would answer with the stack of the error.
app.use((error, request, response, next) => {
  const isEarly = error.code === "42704"; // no pending enrolment
  if (!isEarly) console.error(error);
  response.status(isEarly ? 409 : 500).json({ error: isEarly ? "enrol first" : "that did not work" });
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () =>
  console.log(`listening on ${server.address().port}`));
