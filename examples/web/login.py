"""The pages of those who are not logged in: sign up, password, code, lost phone."""

import os
import re
import secrets
import subprocess

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import abort, render_template, request, session, url_for
from itsdangerous import BadSignature, URLSafeSerializer
from psycopg import errors

from server import COOKIE, app, call, explain, go

TRUST_SECONDS = 30 * 86_400
hasher = PasswordHasher()
NOBODY = hasher.hash(secrets.token_urlsafe())
links = URLSafeSerializer(app.secret_key, salt="recovery")


def email_of(user):
    return call("SELECT email FROM users WHERE id = %s", user).email


def log_in(user):
    session.clear()  # nothing from before the login remains
    session.update(user=user, id=secrets.token_hex(16))
    return go("home")


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
