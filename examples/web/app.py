"""A site whose users log in with a password and a code. README.md says how to run it."""

import hmac
import json
import os
import re
import secrets
import subprocess
import time

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from itsdangerous import BadSignature, URLSafeSerializer
from psycopg import errors
from psycopg.rows import namedtuple_row
from psycopg_pool import ConnectionPool
from werkzeug.exceptions import BadRequest, HTTPException

TRUST_SECONDS = 30 * 86_400
ADDING_SECONDS = 300  # how long after a code a user may set up another device
# Pages for those who are not logged in, or not yet.
OPEN = {"static", "signup", "login", "code", "lost", "recover", None}
COOKIE = {"secure": True, "httponly": True, "samesite": "Lax"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
app = Flask(__name__)
app.config.update(
    {f"SESSION_COOKIE_{name.upper()}": value for name, value in COOKIE.items()},
    SESSION_COOKIE_NAME="__Host-session",
    SECRET_KEY=os.environ["SECRET_KEY"],
    MAX_CONTENT_LENGTH=16_384,
)
pool = ConnectionPool("", kwargs={"row_factory": namedtuple_row}, open=True)
hasher = PasswordHasher()
NOBODY = hasher.hash(secrets.token_urlsafe())
links = URLSafeSerializer(app.secret_key, salt="recovery")


def call(query, *parameters):
    """The only row of a statement, or None. Commits, also after a wrong code, which it counts."""
    with pool.connection() as db:
        return rows(db, query, *parameters, one=True)


def rows(db, query, *parameters, one=False):
    """Runs a statement as the user who is logged in, until the transaction ends."""
    if "user" in session:
        claims = json.dumps({"sub": session["user"], "session_id": session["id"]})
        db.execute("SELECT set_config('request.jwt.claims', %s, true)", [claims])
    cursor = db.execute(query, parameters)
    return cursor.fetchone() if one else cursor.fetchall()


def go(page, message=None, **options):
    if message:
        flash(message)
    return redirect(url_for(page, **options), 303)


def explain(reason=None, seconds=None):
    """Says why a code was refused. Without a reason, the status of the account has it."""
    if reason is None:
        left = "ceil(extract(epoch FROM locked_until - clock_timestamp()))::int AS seconds"
        status = call(f"SELECT suspended, {left} FROM totp.totp_status(%s)", session["user"])
        reason, seconds = "suspended" if status.suspended else "invalid", status.seconds
    if seconds:
        session["wait_until"] = time.time() + seconds
    flash("locked" if seconds else reason)


def email_of(user):
    return call("SELECT email FROM users WHERE id = %s", user).email


def log_in(user):
    session.clear()  # nothing from before the login remains
    session.update(user=user, id=secrets.token_hex(16))
    return go("home")


@app.before_request
def check():
    token = session.setdefault("csrf", secrets.token_urlsafe())
    sent = request.form.get("csrf", "")
    if request.method == "POST" and not hmac.compare_digest(token.encode(), sent.encode()):
        abort(400, "This form is too old. Go back, reload the page, and try again.")
    if "user" not in session and request.endpoint not in OPEN:
        return go("login")


@app.after_request
def add_headers(response):
    response.headers.update(HEADERS if request.endpoint != "static" else {})
    return response


@app.context_processor
def values_of_every_page():
    return {"wait": max(0, round(0.5 + session.get("wait_until", 0) - time.time()))}


def password_is_right(user):
    try:  # takes as long if there is no such user
        return hasher.verify(user.hash if user else NOBODY, request.form["password"]) and bool(user)
    except VerifyMismatchError:
        return False


@app.route("/signup", methods=["GET", "POST"])
def signup():
    if request.method == "GET":
        return render_template("signup.html")
    email, password = request.form["email"].strip().lower(), request.form["password"]
    if not re.fullmatch(r"[^@\s,]+@[^@\s,]+", email) or len(password) < 10:
        return go("signup", "not_signed_up")
    query = "INSERT INTO users (email, password_hash) VALUES (%s, %s) RETURNING id::text"
    try:
        return log_in(call(query, email, hasher.hash(password)).id)
    except errors.UniqueViolation:
        return go("login", "known")


@app.route("/login", methods=["GET", "POST"])
def login():
    if request.method == "GET":
        return render_template("login.html")
    query = "SELECT id::text, password_hash AS hash FROM users WHERE email = %s"
    user = call(query, request.form["email"].strip().lower())
    if not password_is_right(user):
        return go("login", "wrong_password")
    query = "SELECT NOT totp.totp_enabled(%s) OR totp.trust_verify(%s, %s) AS is_enough"
    if call(query, user.id, user.id, request.cookies.get("__Host-device")).is_enough:
        return log_in(user.id)
    session["browser"] = secrets.token_hex(16)
    query = "SELECT totp.challenge_create(%s, binding => %s) AS token"
    session["challenge"] = call(query, user.id, session["browser"]).token
    return go("code")


@app.post("/logout")
def logout():
    session.clear()
    return go("login")


def challenged():
    """The user who gave the right password, and now needs a code. None if the challenge is over."""
    return call("SELECT totp.challenge_account(%s) AS id", session.get("challenge")).id


@app.route("/code", methods=["GET", "POST"])
def code():
    if request.method == "GET":
        return render_template("code.html") if challenged() else go("login")
    parts = session.get("challenge"), request.form["code"], session.get("browser")
    verdict = call("SELECT * FROM totp.challenge_verify(%s, %s, %s)", *parts)
    if not verdict.verified:
        explain(verdict.reason if verdict.account else "too_late", verdict.retry_after_seconds)
        return go("code", **request.args) if challenged() else go("login")
    response = log_in(verdict.account)
    if "remember" in request.form:
        query = "SELECT totp.trust_create(%s, make_interval(secs => %s)) AS token"
        token = call(query, verdict.account, TRUST_SECONDS).token
        response.set_cookie("__Host-device", token, TRUST_SECONDS, **COOKIE)
    return response


@app.route("/lost", methods=["GET", "POST"])
def lost():
    user = challenged()
    if request.method == "GET" or not user:
        return render_template("lost.html") if user else go("login", "too_late")
    token = call("SELECT totp.recovery_create(%s) AS token", user).token
    link = os.environ["SITE_URL"] + url_for("recover", link=links.dumps([user, token]))
    text = render_template("mail.txt", email=email_of(user), link=link)
    subprocess.run([os.environ["SENDMAIL"], "-t", "-oi"], input=text, text=True, check=True)
    return go("login", "mailed")


# Mail scanners open links, so only the button acts. The signature binds the user, whose password is
# asked for, to the token.
@app.route("/recover/<link>", methods=["GET", "POST"])
def recover(link):
    try:
        user, token = links.loads(link)
    except BadSignature:
        abort(404)
    if request.method == "GET":
        return render_template("recover.html")
    if not password_is_right(call("SELECT password_hash AS hash FROM users WHERE id = %s", user)):
        return go("recover", "wrong_password", link=link)
    return go("login", "recovery_" + call("SELECT * FROM totp.recovery_attempt(%s)", token).reason)


@app.get("/")
def home():
    user = session["user"]
    with pool.connection() as db:
        query = "SELECT email, s.* FROM users, totp.totp_status(id::text) AS s WHERE id = %s"
        person = rows(db, query, user, one=True)
        devices = rows(db, "SELECT * FROM totp_api.totp_factors() WHERE state = 'active'")
        payments = rows(db, "SELECT * FROM payments WHERE payer = %s ORDER BY id", user)
    return render_template("home.html", person=person, devices=devices, payments=payments)


@app.route("/enrol", methods=["GET", "POST"])
def enrol():
    user, label = session["user"], session.get("label", "default")
    is_late = time.time() > session.get("label_until", 0)
    if is_late and call("SELECT totp.totp_enabled(%s) AS on", user).on:
        return go("home", "code_first")
    if request.method == "GET":
        # Apps keep one entry per name. A page that is soon loaded again shows the same QR code.
        query = "SELECT * FROM totp.totp_create(%s, %s, 'Acme', account_name => %s, reuse => true)"
        name = email_of(user) + ("" if label == "default" else f" ({label})")
        return render_template("enrol.html", device=call(query, user, label, name))
    try:
        parts = user, request.form["code"], label
        answer = call("SELECT * FROM totp.totp_confirm(%s, %s, %s)", *parts)
    except errors.UndefinedObject:
        return go("enrol", "too_late")
    if not answer.confirmed:
        explain(answer.reason, answer.retry_after_seconds)
        # The same QR code again, since the app may have scanned it.
        query = "SELECT secret, uri, totp.qr_svg(uri) FROM (VALUES (%s, %s)) AS form (secret, uri)"
        device = call(query, request.form["secret"], request.form["uri"])
        return render_template("enrol.html", device=device)
    session.pop("label", None)
    if answer.backup_codes:
        return render_template("backup.html", codes=answer.backup_codes)
    return go("home", "added")


@app.post("/devices")
def add_device():
    verdict = call("SELECT * FROM totp.totp_attempt(%s, %s)", session["user"], request.form["code"])
    if not verdict.verified:
        explain(verdict.reason, verdict.retry_after_seconds)
        return go("home")
    session.update(label=request.form["label"], label_until=time.time() + ADDING_SECONDS)
    return go("enrol")


@app.post("/devices/remove")
def remove_device():
    parts = session["user"], request.form["label"], request.form["code"]
    if call("SELECT totp.totp_remove(%s, %s, %s) AS removed", *parts).removed:
        return go("home", "removed")
    explain()
    return go("home")


@app.post("/devices/forget")
def forget_devices():
    call("SELECT totp.trust_revoke(%s)", session["user"])
    return go("home", "forgotten")


@app.post("/backup")
def backup():
    query = "SELECT totp.backup_rotate(%s, %s) AS codes"
    if codes := call(query, session["user"], request.form["code"]).codes:
        return render_template("backup.html", codes=codes)
    explain()
    return go("home")


@app.route("/pay", methods=["GET", "POST"])
def pay():
    if not call("SELECT totp.totp_enabled(%s) AS on", session["user"]).on:
        return go("enrol", "enrol_first")
    if request.method == "GET":
        return render_template("pay.html")
    payload = "jsonb_build_object('recipient', %s::text, 'amount', %s::numeric(12, 2))"
    query = f"SELECT id FROM totp.approval_request('payment', {payload})"
    return go("approve", id=call(query, request.form["recipient"], request.form["amount"]).id)


@app.route("/pay/<uuid:id>", methods=["GET", "POST"])
def approve(id):
    payment = call(
        "SELECT (jsonb_populate_record(NULL::payments, payload)).*"
        " FROM totp_api.approval_status(%s) WHERE state = 'pending'",
        id,
    )
    if not payment:
        return go("pay", "too_late")
    if request.method == "GET":
        return render_template("approve.html", payment=payment)
    with pool.connection() as db:
        query = "SELECT * FROM totp.approval_confirm(%s, %s)"
        verdict = rows(db, query, id, request.form["code"], one=True)
        if verdict.verified:
            values = payment.recipient, payment.amount
            db.execute("INSERT INTO payments (recipient, amount) VALUES (%s, %s)", values)
            return go("home", "paid")
    explain(verdict.reason, verdict.retry_after_seconds)
    return go("approve", id=id)


@app.errorhandler(HTTPException)
def show_error(error):
    return render_template("error.html", text=error.description), error.code


@app.errorhandler(errors.DataError)
def show_refused_input(error):
    return show_error(BadRequest(error.diag.message_primary))
