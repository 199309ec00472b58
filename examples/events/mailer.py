"""Mails users what happened to their second factor: pip install psycopg, then python mailer.py.

Reads the events of totp, whose texts are below, and stores how far it has come in the table mailer:

    CREATE TABLE mailer (position bigint NOT NULL);
    INSERT INTO mailer VALUES (0);

Its role needs totp_auditor, SELECT and UPDATE on mailer, and SELECT on users (login, email).
"""

import os
import subprocess

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
    "recovered": "Two-factor authentication was turned off with a recovery link.",
    "reset": "Support removed your authenticator apps. Please set up a new one.",
}
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
            "SELECT position, event, email FROM totp.events_read(%s, 100)"
            " LEFT JOIN users ON login = account ORDER BY position",
            [after],
        ).fetchall()
        for position, event, email in events:
            if email and event in TEXTS:
                send(email, TEXTS[event])
            connection.execute("UPDATE mailer SET position = %s", [position])
    return bool(events)


def send(email, text):
    mail = f"To: {email}\nSubject: Your account\n\n{text}\nIf it was not you, call support.\n"
    subprocess.run([SENDMAIL, "-t", "-oi"], input=mail, text=True, check=True)


if __name__ == "__main__":
    main()
