"""The person: sees what is to be approved, and approves it with a code.

    pip install "psycopg[binary]"
    PGUSER=app PGDATABASE=... python approve.py alice 0b6f... 492039

This is a part of the application's backend, with the role totp_app. It shows the summary, which the
database has made from the values that the trigger will compare, and no words of the agent.
"""

import sys

import psycopg

account, approval, code = sys.argv[1:]
with psycopg.connect("", autocommit=True) as db:
    status = "SELECT state, summary FROM totp.approval_status(%s) WHERE coalesce(approver, account) = %s"
    row = db.execute(status, (approval, account)).fetchone()
    if row is None or row[0] != "pending":
        sys.exit("nothing to approve")
    print(row[1])
    confirm = "SELECT verified, reason FROM totp.approval_confirm(%s, %s)"
    verified, reason = db.execute(confirm, (approval, code)).fetchone()
    if not verified:
        sys.exit(f"refused: {reason}")
    print("approved")
