"""Mails users what happened to their second factor: pip install psycopg, then python mailer.py.

Reads the events of totp, whose texts are below, and stores how far it has come in the table mailer:

    CREATE TABLE mailer (position bigint NOT NULL);
    INSERT INTO mailer VALUES (0);

Its role needs totp_auditor, SELECT and UPDATE on mailer, and SELECT on users (login, email). Mail
about a recovery contains a link "This was not me" to the page of not_me.py, at NOT_ME_URL, signed with
LINK_SECRET.
"""

import hmac
import os
import subprocess
import time
from urllib.parse import urlencode

import psycopg

TEXTS = {
    "enrolled": "Two-factor authentication was turned on.",
    "device_added": "An authenticator app was added.",
    "device_removed": "An authenticator app was removed.",
    "disabled": "Two-factor authentication was turned off.",
    "backup_replaced": "You have new backup codes; the old ones no longer work.",
    "backup_low": "You have few backup codes left.",
    "locked": "Your account is locked for a while: there were too many wrong codes.",
    "recovery_asked": "Someone asked for a link that turns two-factor authentication off.",
    "recovery_started": "Two-factor authentication will be turned off, since a link was used.",
    "recovery_canceled": "Two-factor authentication stays on: the link no longer works.",
    "recovered": "Two-factor authentication was turned off with a recovery link.",
    "reset": "Support removed your authenticator apps. Please set up a new one.",
}
WITH_LINK = {"recovery_asked", "recovery_started"}
DAYS = 30
SENDMAIL = os.environ.get("SENDMAIL", "/usr/sbin/sendmail")


def main():
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("LISTEN totp")
        while True:
            while deliver(connection):
                pass
            for _ in connection.notifies(timeout=60, stop_after=1):
                pass


def deliver(connection):
    """Sends mail for some events. After a failure, it is sent again, rather than not at all."""
    with connection.transaction():
        (after,) = connection.execute("SELECT position FROM mailer FOR UPDATE").fetchone()
        events = connection.execute(
            "SELECT position, event, account, email FROM totp.events_read(%s, 100)"
            " LEFT JOIN users ON login = account ORDER BY position",
            [after],
        ).fetchall()
        for position, event, account, email in events:
            if email and event in TEXTS:
                send(email, TEXTS[event], not_me(account) if event in WITH_LINK else "call support")
            connection.execute("UPDATE mailer SET position = %s", [position])
    return bool(events)


def not_me(account):
    """A link that cancels a recovery: whoever has the mail need not log in."""
    expires = str(int(time.time()) + DAYS * 86_400)
    key, message = os.environ["LINK_SECRET"].encode(), f"{expires} {account}".encode()
    signature = hmac.digest(key, message, "sha256").hex()
    query = urlencode({"account": account, "expires": expires, "signature": signature})
    return f"open {os.environ['NOT_ME_URL']}?{query}"


def send(email, text, advice):
    mail = f"To: {email}\nSubject: Your account\n\n{text}\nIf it was not you, {advice}.\n"
    subprocess.run([SENDMAIL, "-t", "-oi"], input=mail, text=True, check=True)


if __name__ == "__main__":
    main()
