"""The SQL functions, each with arguments that are good in themselves."""

# Of an account, beside the account.
OF_ACCOUNTS = {
    "totp_create": {},
    "totp_confirm": {"code": "123456"},
    "totp_verify": {"code": "123456"},
    "totp_attempt": {"code": "123456"},
    "totp_disable": {"code": "123456"},
    "totp_enabled": {},
    "totp_status": {},
    "totp_requirement": {},
    "backup_verify": {"code": "0000-0000-0000-0000"},
    "backup_rotate": {"code": "123456"},
    "backup_remaining": {},
    "challenge_create": {},
    "recovery_create": {},
    "recovery_cancel": {},
    "trust_create": {},
    "trust_verify": {"token": "A" * 78},
    "trust_revoke": {},
}
READERS = {"totp_enabled", "totp_status", "totp_requirement", "backup_remaining", "trust_verify"}
# Those that may write: every other one.
WRITERS = {name: rest for name, rest in OF_ACCOUNTS.items() if name not in READERS}

# Of a token, beside the token.
OF_TOKENS = {
    "challenge_verify": {"code": "123456"},
    "challenge_account": {},
    "recovery_confirm": {},
    "recovery_attempt": {},
}

# Of the caller's own account, in schema totp_api.
OF_SELF_SERVICE = {
    "totp_create": {},
    "totp_confirm": {"code": "123456"},
    "totp_verify": {"code": "123456"},
    "totp_disable": {"code": "123456"},
    "totp_remove": {"label": "default", "code": "123456"},
    "backup_rotate": {"code": "123456"},
    "totp_status": {},
    "approval_request": {"action": "transfer", "payload": "{}"},
    "approvals_pending": {},
}

# Called by other functions only.
INTERNAL = {
    "account_factors": {"account": "x"},
    "challenge_login": {"token": "x", "code": "1", "binding": None},
    "disable_attempt": {"account": "x", "code": "123456"},
    "remove_attempt": {"account": "x", "label": "x", "code": "123456"},
    "rotate_attempt": {"account": "x", "code": "123456"},
    "session_account": {},
    "missing_claim": {},
    "request_account": {},
    "request_code": {"code": "123456"},
    "verified_account": {},
    "verified_request_account": {},
}

# Of a secret that the caller has, beside the secret.
OF_SECRETS = {
    "totp_code": {"at": "2005-03-18 01:58:29+00"},
    "totp_check": {"at": "2005-03-18 01:58:29+00", "code": "081804"},
    "totp_uri": {"account_name": "alice", "issuer": "Acme"},
}


def call_with_secret(client, function, secret):
    """The value of a function of secrets."""
    return client.call(function, secret=secret, **OF_SECRETS[function])[0]
