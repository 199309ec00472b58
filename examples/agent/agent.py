"""The agent: asks Alice to approve a transfer, and makes it once she has.

    pip install "psycopg[binary]"
    PGUSER=payments_agent PGDATABASE=... python agent.py bob 12.50         # asks, and prints the ID
    PGUSER=payments_agent PGDATABASE=... python agent.py bob 12.50 --now   # makes the transfer

What the agent runs is its own choice: the trigger of schema.sql compares the row with what Alice has
seen, not with what the agent says that it does.
"""

import sys
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb

recipient, amount = sys.argv[1], Decimal(sys.argv[2])
with psycopg.connect("", autocommit=True) as db:
    if "--now" in sys.argv:
        try:
            db.execute("INSERT INTO transfers (recipient, amount) VALUES (%s, %s)", (recipient, amount))
        except psycopg.errors.InsufficientPrivilege as error:
            sys.exit(f"{error.diag.message_primary}\n{error.diag.message_hint}")
        print("transferred")
    else:
        request = "SELECT id FROM totp_api.approval_request('transfer', jsonb_build_object('recipient', %s::text, 'amount', %s::numeric), approver => 'alice')"
        print("waiting for approval", db.execute(request, (recipient, amount)).fetchone()[0])
