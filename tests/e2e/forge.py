"""Thousands of accounts at once, written into the tables as totp_create would have written them."""

import base64
import json
import secrets
from datetime import UTC, datetime

from cryptography.fernet import Fernet

from authenticator import Authenticator
from key_file import KeyFile, key_id

ACCOUNTS = "COPY totp.accounts (account, changed_at, created_at) FROM STDIN"
FACTORS = """
COPY totp.factors (account, label, state, algorithm, digits, period, sealed, key_id, created_at,
                   confirmed_at) FROM STDIN
"""
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def forge(cluster, dbname, accounts):
    """Makes accounts whose factors all have one secret; the app that shows its codes."""
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    key = KeyFile(cluster).keys[0]
    fernet, sealed_by = Fernet(key), key_id(key)
    with cluster.connect(dbname=dbname, autocommit=False) as connection:
        with connection.cursor().copy(ACCOUNTS) as copy:
            for account in accounts:
                copy.write_row((account, MADE_AT, MADE_AT))
        with connection.cursor().copy(FACTORS) as copy:
            for account in accounts:
                place = {"purpose": "totp", "account": account, "label": "default"}
                place["identity"] = f"{int(MADE_AT.timestamp())}000000"
                sealed = fernet.encrypt(json.dumps({**place, "secret": secret}).encode()).decode()
                row = (account, "default", "active", "SHA1", 6, 30, sealed, sealed_by)
                copy.write_row((*row, MADE_AT, MADE_AT))
    return Authenticator(f"otpauth://totp/forged?secret={secret}")
