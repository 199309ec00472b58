-- The descriptions that \df+ totp.* shows.

COMMENT ON FUNCTION totp.totp_create(text, text, text, text, text, integer, integer) IS
'Creates a new TOTP secret for an account, as a pending factor that totp_confirm activates. An active factor with the same label keeps working until then. Returns the base32 secret, the otpauth URI and its QR code as SVG; they cannot be retrieved again. label: 1 to 64 characters. issuer: totp.issuer when NULL; must not contain a colon. account_name: the name shown by the authenticator app; the account when NULL. algorithm: SHA1, SHA256 or SHA512. digits: 6 to 8. period: 1 to 120 seconds. Errors: 22023 invalid argument, 54000 more than 20 factors, 55P03 row locked for longer than totp.lock_timeout, F0000 no keyring, 25006 read-only transaction.';
COMMENT ON FUNCTION totp.totp_confirm(text, text, text) IS
'Activates the pending factor with the given label, using its first code, which is then spent. Returns whether the factor is now active, new backup codes if the account had none (shown only here), and the reason: ok, invalid, locked or suspended. A wrong code counts as a failure. Errors: 42704 no pending factor, or it is older than totp.pending_ttl; 22023; 55P03; F0000; XX001; 25006.';
COMMENT ON FUNCTION totp.totp_disable(text, text) IS
'Turns off two-factor authentication for an account, given a valid TOTP or backup code. Removes its factors, backup codes, tokens and verified sessions. Returns false if the code is refused. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_remove(text, text, text) IS
'Removes one of several authenticator apps of an account, given a valid TOTP code of any of them or a backup code. Returns false if the code is refused, and for the last active app, which only totp_disable removes; the code is not spent in that case. Errors: 42704 no factor with this label, 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_enabled(text) IS
'Returns whether an account has an active factor. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_status(text) IS
'Returns the state of an account in one row: enabled, pending factor, active factors, unused backup codes, consecutive failures, end of the lock, suspension, last accepted code (of a factor or backup code that still exists). All are false, 0 or NULL for an unknown account. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_verify(text, text) IS
'Returns whether a code is a valid and unspent TOTP code of an active factor of the account, and spends it (RFC 6238, section 5.2). Returns false for anything else, including NULL, and while the account is locked or suspended. Spaces in the code are ignored. Errors: 22023 invalid account, 55P03 row locked for longer than totp.lock_timeout, F0000 keyring, XX001 damaged secret, 25006 read-only transaction.';
COMMENT ON FUNCTION totp.backup_verify(text, text) IS
'Returns whether a code is an unspent backup code of the account, and spends it. Success also clears failures and a suspension. The code is refused while the account is locked. Case, spaces and dashes are ignored. Returns false for anything else, including NULL. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_attempt(text, text) IS
'Checks a TOTP or backup code and returns a verdict. Works like totp_verify and backup_verify, but returns a row instead of a boolean: reason is ok, invalid, locked, suspended or not_enrolled; retry_after is set if the account is locked after the attempt. Call it in FROM: (totp_attempt(...)).* calls it once per column. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_resync(text, text, text, text) IS
'Adjusts to an authenticator app''s clock that is up to totp.resync_steps steps off, given two consecutive codes, both of which are then spent (RFC 6238, section 6). Returns false if they are not such a pair, which counts as a failure, and while the account is locked or suspended. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.backup_rotate(text, text) IS
'Replaces the backup codes of an account with a new set of totp.backup_codes codes, given a valid TOTP or backup code. Returns the new set, which cannot be retrieved again, or NULL if the code is refused. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.backup_remaining(text) IS
'Returns the number of unused backup codes of an account. Errors: 22023.';
COMMENT ON FUNCTION totp.challenge_create(text, text, text, jsonb, interval) IS
'Creates a challenge token, which the client holds between password and second factor. purpose: 1 to 64 characters; challenge_verify must be given the same one. binding: any text that challenge_verify must be given again, such as a session ID or a transfer ID. claims: a JSON object of at most 4096 bytes, for the JSON Web Token of totp_api.challenge_verify. ttl: 1 second to 1 day, totp.challenge_ttl when NULL. An account without a factor gets a token, too. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.challenge_verify(text, text, text, text) IS
'Checks a TOTP or backup code for the account of a challenge. The challenge is used up by an accepted code, or by totp.challenge_attempts refused ones. reason is ok, invalid, locked, suspended, not_enrolled, expired, or spent: used, tried too often, or revoked by a change to the account''s factors. A forged token, or a different purpose or binding, gives invalid, with account NULL. Failures also count for the account. Call it in FROM. Errors: 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.challenge_login(text, text, text) IS
'Completes a login for totp_api.challenge_verify. Not for use by anyone else.';
COMMENT ON FUNCTION totp.challenge_account(text) IS
'Returns the account of a challenge that can still be completed, otherwise NULL. The challenge is not changed. Errors: F0000.';
COMMENT ON FUNCTION totp.recovery_create(text, interval) IS
'Creates a recovery token for a user who has lost all authenticator apps and backup codes. The application mails it. Earlier tokens remain valid. ttl: 1 second to 7 days, totp.recovery_ttl when NULL. Any account gets a token. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.recovery_confirm(text) IS
'Turns off two-factor authentication for the account of a recovery token. Removes its factors, backup codes, lock, tokens and verified sessions. Returns false if the token is invalid, has expired or was used. Errors: 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.trust_create(text, interval) IS
'Creates a token for a trusted device, which can then skip the second factor. To be kept in a cookie. The account must have had a code accepted within the last totp.challenge_ttl. ttl: 1 second to 366 days, totp.trust_ttl when NULL. Errors: 42501 no such code, 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.trust_verify(text, text) IS
'Returns whether a token proves that a device is trusted by the account. The trust ends when the token expires, after trust_revoke, or after any change to the account''s factors. Nothing is spent. Errors: 22023, F0000.';
COMMENT ON FUNCTION totp.trust_revoke(text) IS
'Revokes the trust in all devices of an account and returns their number. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.current_account() IS
'Returns the account of this session, as determined by totp.identity. This is the claim named by totp.jwt_claim in request.jwt.claims, which is trusted only for login roles in totp.jwt_logins, or the login role itself. Returns NULL if the account cannot be determined.';
COMMENT ON FUNCTION totp.session_account() IS
'Returns the account of this session. Used by the functions in totp_api. Errors: 42501 no account.';
COMMENT ON FUNCTION totp.verified_account() IS
'Returns the account of this session if the session is verified or the account has no second factor. Locks the account''s row. Used by the functions in totp_api. Errors: 42501 no account, or the session is not verified; 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_verified(interval) IS
'Returns whether this session was verified within max_age (at most totp.session_ttl), and the account''s factors have not changed since. A session is identified by the claim session_id or jti, otherwise by the server connection. In row security policies, write USING ((SELECT totp.totp_verified(''15 min''))), so that it is called once per query. Errors: 22023 negative age.';
COMMENT ON FUNCTION totp.jwt_sign(jsonb) IS
'Returns a JSON Web Token with the given claims (RFC 7519), signed with HS256 and the secret in totp.jwt_secret_file. iat is the current time; exp is totp.jwt_ttl later unless the claims contain it. Errors: 22023 not a JSON object, more than 4096 bytes, or an exp that is not a number of seconds; F0000 no secret.';
COMMENT ON FUNCTION totp.totp_reset(text, text) IS
'Removes all factors, backup codes and the lock of an account, which must enrol again. For administrators. Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_unlock(text, text) IS
'Lifts the lock and suspension of an account and clears its failures. For administrators. Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.backup_reissue(text, text) IS
'Replaces the backup codes of an account with a new set and returns it. For administrators. The codes cannot be retrieved again. reason: 3 to 500 characters for the audit trail. Errors: 42704 the account has no active factor, 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_forget(text, text) IS
'Erases an account with its factors and codes. For administrators. Only its audit trail remains (see totp.audit_accounts). Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_prune() IS
'Removes pending factors older than totp.pending_ttl, expired tokens and sessions older than totp.session_ttl, and returns their number. For administrators. Pending factors and tokens are also removed gradually as new ones are created, and sessions when their account is verified again. Errors: 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_import(text, text, text, text) IS
'Creates an active factor from an otpauth://totp/ URI, as written by common authenticator apps, or from a base32 secret of 80 to 1024 bits. For administrators. Raises a notice if the secret has fewer than 128 bits. A pending factor with the same label is removed. Errors: 42710 a factor with this label or secret already exists, 54000 more than 20 factors, 22023 not such a URI, F0000, 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_export(text, text, text) IS
'Returns the otpauth URI of an active factor, including its secret. For administrators. reason: 3 to 500 characters for the audit trail. Errors: 42704 no active factor with this label, 22023, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_rename(text, text, text) IS
'Renames an account and re-encrypts its secrets for the new name. For administrators. reason: 3 to 500 characters for the audit trail. Errors: 42704 no such account, 42710 the new name is taken, 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.key_generate() IS
'Generates an encryption key. If there is no keyring yet, writes the key to totp.key_file with mode 0600 and returns a message that says so; otherwise returns the new key, to be added to the keyring by hand. Superusers only. Errors: 42501, F0000.';
COMMENT ON FUNCTION totp.key_ids() IS
'Returns the IDs of the keys in the keyring, for the view key_status. Errors: F0000.';
COMMENT ON FUNCTION totp.key_rotate_step(integer, boolean) IS
'Performs one step of key_rotate, which is a batch or part of the pause after it. Returns true when the rotation has finished.';
COMMENT ON FUNCTION totp.preflight() IS
'Checks the configuration of a deployment. For administrators. Returns one row per check: status ok, warn (weaker than it could be) or fail (does not work, or protects nothing), what was found, and what to do. Reads all rows of factors and backup codes.';
COMMENT ON FUNCTION totp.totp_code(text, timestamptz, text, integer, integer) IS
'Returns the TOTP code of a base32 secret at a given time (RFC 6238, section 4). Reads no table. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_check(text, text, timestamptz, text, integer, integer, integer) IS
'Returns whether a code is valid for a base32 secret at a given time, up to drift_steps steps before or after. Reads no table and spends nothing: use totp_verify for logins. Returns false for NULL and malformed codes. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_uri(text, text, text, text, integer, integer) IS
'Returns the otpauth URI of a base32 secret, as read by authenticator apps. Errors: 22023.';
COMMENT ON FUNCTION totp.qr_svg(text) IS
'Returns a QR code as an SVG image, black on white with a quiet zone (ISO/IEC 18004, level M). Errors: 22023 more than 2331 bytes.';
COMMENT ON FUNCTION totp.qr_text(text) IS
'Returns a QR code drawn with Unicode half blocks, for a terminal with light text on a dark background. Errors: 22023 more than 2331 bytes.';
COMMENT ON FUNCTION totp.guard_usage() IS
'Returns the row of the view guard_status, or no row without shared_preload_libraries.';
