"""Thousands of accounts at once, written into the tables as the extension would write them."""

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
BACKUP_CODES = "COPY totp.backup_codes (account, salt, sealed, key_id, used_at) FROM STDIN"
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Encrypter:
    """Encrypts as the server does, with the first key of its file."""

    def __init__(self, cluster):
        key = KeyFile(cluster).keys[0]
        self.fernet, self.key_id = Fernet(key), key_id(key)

    def encrypt(self, purpose, account, label, identity, secret):
        place = {"purpose": purpose, "account": account, "label": label, "identity": identity}
        return self.fernet.encrypt(json.dumps({**place, "secret": secret}).encode()).decode()


def forge(cluster, dbname, accounts):
    """Makes accounts whose factors all have one secret; the app that shows its codes."""
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    encrypter, identity = Encrypter(cluster), f"{int(MADE_AT.timestamp())}000000"
    with cluster.connect(dbname=dbname, autocommit=False) as connection:
        with connection.cursor().copy(ACCOUNTS) as copy:
            for account in accounts:
                copy.write_row((account, MADE_AT, MADE_AT))
        with connection.cursor().copy(FACTORS) as copy:
            for account in accounts:
                sealed = encrypter.encrypt("totp", account, "default", identity, secret)
                row = (account, "default", "active", "SHA1", 6, 30, sealed, encrypter.key_id)
                copy.write_row((*row, MADE_AT, MADE_AT))
    return Authenticator(f"otpauth://totp/forged?secret={secret}")


def forge_backup_codes(cluster, dbname, accounts):
    """Gives each account ten backup codes, which nobody knows."""
    encrypter = Encrypter(cluster)
    with (
        cluster.connect(dbname=dbname, autocommit=False) as connection,
        connection.cursor().copy(BACKUP_CODES) as copy,
    ):
        for account in accounts:
            salt = secrets.token_bytes(16)
            hashes = base64.b32encode(secrets.token_bytes(10 * 16)).rstrip(b"=").decode()
            sealed = encrypter.encrypt("backup", account, "", salt.hex(), hashes)
            copy.write_row((account, salt, sealed, encrypter.key_id, [None] * 10))
