"""What all pages of the site share: settings, the database, and the checks of every request."""

import hmac
import json
import os
import secrets
import time

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for
from psycopg import errors
from psycopg.rows import namedtuple_row
from psycopg_pool import ConnectionPool
from werkzeug.exceptions import BadRequest, HTTPException

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


@app.errorhandler(HTTPException)
def show_error(error):
    return render_template("error.html", text=error.description), error.code


@app.errorhandler(errors.DataError)
def show_refused_input(error):
    return show_error(BadRequest(error.diag.message_primary))
