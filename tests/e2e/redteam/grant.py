"""The table of grants: which role may call what. The words are those of sql/functions.sql."""

PURE = {"help", "totp_code", "totp_check", "totp_uri", "qr_svg", "qr_text"}
READERS = {"totp_enabled", "totp_status", "backup_remaining", "totp_requirement", "approval_status"}
SESSION = {"current_account", "totp_verified", "totp_compliant"}
APP = {
    "totp_create",
    "totp_confirm",
    "totp_disable",
    "totp_remove",
    "totp_verify",
    "backup_verify",
    "totp_attempt",
    "totp_resync",
    "token_assign",
    "backup_rotate",
    "challenge_create",
    "challenge_verify",
    "challenge_account",
    "recovery_create",
    "recovery_confirm",
    "recovery_attempt",
    "recovery_cancel",
    "trust_create",
    "trust_verify",
    "trust_revoke",
    "approval_request",
    "approval_confirm",
    "approval_cancel",
    "approval_use",
}
ADMIN = {
    "recovery_cancel",
    "approval_use",
    "totp_reset",
    "totp_unlock",
    "backup_reissue",
    "totp_import",
    "totp_export",
    "totp_export_all",
    "totp_export_migration",
    "import_rows",
    "import_django_otp",
    "import_allauth",
    "import_django_totp",
    "import_keycloak",
    "import_supabase",
    "import_auth0",
    "import_fusionauth",
    "import_libpam",
    "import_migration",
    "import_app",
    "import_oath_csv",
    "import_pskc",
    "import_privacyidea",
    "token_assign",
    "token_remove",
    "import_better_auth",
    "totp_rename",
    "totp_forget",
    "pass_issue",
    "pass_revoke",
    "totp_require",
    "totp_exempt",
    "totp_release",
    "totp_prune",
    "jwt_sign",
    "preflight",
    "preflight_ok",
    "key_rotate",
    "key_rotate_step",
    "audit_prune",
}
REPORTS = {
    "guard_usage",
    "key_ids",
    "audit_seal",
    "audit_digest",
    "audit_checkpoint",
    "audit_verifier_key",
    "audit_proof",
    "audit_verify",
    "audit_names",
    "events_read",
    "metric_values",
}
BROWSER = {
    "totp_create",
    "totp_confirm",
    "totp_verify",
    "totp_disable",
    "totp_remove",
    "backup_rotate",
    "totp_status",
    "totp_factors",
    "challenge_verify",
    "approval_request",
    "approval_confirm",
    "approval_status",
    "approval_cancel",
    "approvals_pending",
}

# By role and schema: who may call which functions.
TABLE = {
    ("stranger", "totp"): PURE,
    ("app", "totp"): PURE | READERS | SESSION | APP,
    ("administrator", "totp"): PURE | READERS | SESSION | ADMIN | REPORTS,
    ("auditor", "totp"): PURE | READERS | SESSION | REPORTS,
    ("self_service", "totp"): PURE | SESSION,
    ("self_service", "totp_api"): BROWSER,
    ("anon", "totp"): PURE,
    ("anon", "totp_api"): {"challenge_verify"},
    ("authenticated", "totp"): PURE | SESSION,
    ("authenticated", "totp_api"): BROWSER,
    ("service_role", "totp"): PURE | READERS | SESSION | APP,
    ("authenticator", "totp"): PURE,
}
VIEWS = {
    "account_status",
    "factor_status",
    "hardware_token_status",
    "key_status",
    "audit_log",
    "audit_ocsf",
    "seal_log",
    "guard_status",
    "metrics",
    "attacks",
}
READERS_OF_VIEWS = {"administrator", "auditor"}
# Everybody who may read this view sees their own rows in it.
OWN_VIEW = "approvals_pending"
READERS_OF_OWN_VIEW = {"app", "self_service", "authenticated", "service_role"}
# Roles that log in; the others are taken on by SET ROLE.
LOGINS = ["stranger", "app", "administrator", "auditor", "self_service", "authenticator"]
ROLES = [*LOGINS, "anon", "authenticated", "service_role"]


def allowed(role, schema):
    return TABLE.get((role, schema), set())
