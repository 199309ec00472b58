"""A site whose users log in with a password and a code. README.md says how to run it.

Here are the pages of those who are logged in: account, devices, payments.
"""

import time

from flask import render_template, request, session
from psycopg import errors

from login import email_of
from server import app, call, explain, go, pool, rows

ADDING_SECONDS = 300  # how long after a code a user may set up another device


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
        news = "Two-step login is on."
        return render_template("backup.html", codes=answer.backup_codes, news=news)
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
        news = "These codes replace your old ones, which no longer work."
        return render_template("backup.html", codes=codes, news=news)
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
