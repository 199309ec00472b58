-- What \df+ totp.* shows.

COMMENT ON FUNCTION totp.totp_create(text, text, text, text, text, integer, integer) IS
'Makes a new TOTP secret for an account: a pending factor, which totp_confirm makes active. An active factor of the same label works until then. Returns the base32 secret, the otpauth URI and its QR code as SVG; they cannot be read again. label: 1 to 64 characters. issuer: totp.issuer when NULL, no colon. account_name: what the app shows, the account when NULL. algorithm: SHA1, SHA256 or SHA512. digits: 6 to 8. period: 1 to 120 seconds. Errors: 22023 bad argument, 54000 more than 20 factors, 55P03 row in use for longer than totp.lock_timeout, F0000 no keyring, 25006 read-only.';
COMMENT ON FUNCTION totp.totp_confirm(text, text, text) IS
'Confirms the pending factor of a label with its first code, which is spent by it. Returns whether it is active now, new backup codes when the account had none (shown only here), and the reason: ok, invalid, locked or suspended. A wrong code counts as a failure. Errors: 42704 nothing pending, or it is older than totp.pending_ttl; 22023; 55P03; F0000; XX001; 25006.';
COMMENT ON FUNCTION totp.totp_disable(text, text) IS
'Switches two-factor authentication off for an account, against a TOTP or backup code: removes its factors, backup codes, tokens and verified sessions. False when the code is refused. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_remove(text, text, text) IS
'Removes one of several authenticator apps, against a TOTP code of any of them or a backup code. False when the code is refused, and for the last active one, which only totp_disable removes; a code is not spent then. Errors: 42704 no factor with this label, 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_enabled(text) IS
'Whether an account has an active factor. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_status(text) IS
'The state of an account in one row: enabled, a pending factor, active factors, unused backup codes, failures in a row, end of the lock, suspension, last accepted code (of a factor or backup code that is still there). All false, 0 or NULL for an unknown account. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_verify(text, text) IS
'Whether the code is a right and unspent TOTP code of an active factor of the account; spends it (RFC 6238, 5.2). False for anything else, also for NULL, and while the account is locked or suspended. Blanks in the code are dropped. Errors: 22023 bad account, 55P03 row in use for longer than totp.lock_timeout, F0000 keyring, XX001 damaged secret, 25006 read-only.';
COMMENT ON FUNCTION totp.backup_verify(text, text) IS
'Whether the code is an unspent backup code of the account; spends it and clears failures and a suspension. Refused while the account is locked. Case, blanks and dashes do not matter. False for anything else, also for NULL. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_attempt(text, text) IS
'As totp_verify and backup_verify, for either kind of code, with a verdict instead of a boolean: reason is ok, invalid, locked, suspended or not_enrolled; retry_after is set when the account is locked afterwards. Call it in FROM: (totp_attempt(...)).* calls it once for each column. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_resync(text, text, text, text) IS
'Follows an app''s clock that is up to totp.resync_window steps off, from two consecutive codes, both spent by it (RFC 6238, 6). False when they are no such pair, which counts as a failure, and while the account is locked or suspended. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.backup_rotate(text, text) IS
'Puts a new set of totp.backup_codes backup codes in the place of the old, against a TOTP or backup code, and returns it; it cannot be read again. NULL when the code is refused. Errors: 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.backup_remaining(text) IS
'How many unused backup codes an account has. Errors: 22023.';
COMMENT ON FUNCTION totp.challenge_create(text, text, text, jsonb, interval) IS
'Makes the token that stands between password and second factor, to be handed to the client. purpose: 1 to 64 characters, must be the same at challenge_verify. binding: any text that must be given again there, a session id or a transfer id. claims: a JSON object of 4096 bytes at most, for the JSON Web Token of totp_api.challenge_verify. ttl: 1 second to 1 day, totp.challenge_ttl when NULL. An account without a factor gets a token too. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.challenge_verify(text, text, text, text) IS
'Checks a TOTP or backup code for the account of a challenge, which an accepted code uses up, and totp.challenge_attempts refused ones. reason is ok, invalid, locked, suspended, not_enrolled, expired, or spent: used, tried too often, or revoked by a change of the account''s factors. A forged token, and another purpose or binding, read invalid; account is NULL then. Failures count for the account too. Call it in FROM. Errors: 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.challenge_login(text, text, text) IS
'What totp_api.challenge_verify calls, and nobody else may.';
COMMENT ON FUNCTION totp.challenge_account(text) IS
'The account of a challenge that can still be answered, which stays as it is; else NULL. Errors: F0000.';
COMMENT ON FUNCTION totp.recovery_create(text, interval) IS
'Makes a token for somebody who lost all apps and backup codes, for the application to mail; the last one made is as good as those before it. ttl: 1 second to 7 days, totp.recovery_ttl when NULL. Any account gets a token. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.recovery_confirm(text) IS
'Switches two-factor authentication off for the account of a recovery token: removes its factors, backup codes, lock, tokens and verified sessions. False when the token is not good, has ended, or was used. Errors: 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.trust_create(text, interval) IS
'Makes a token for a device that need not ask for a second factor again, to be kept in a cookie, within totp.challenge_ttl after the account had a code accepted. ttl: 1 second to 366 days, totp.trust_ttl when NULL. Errors: 42501 no such code, 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.trust_verify(text, text) IS
'Whether a token makes a device trusted by the account: not after its end, trust_revoke, or any change of the account''s factors. Spends nothing. Errors: 22023, F0000.';
COMMENT ON FUNCTION totp.trust_revoke(text) IS
'Ends the trust in all devices of an account and returns their number. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.current_account() IS
'The account of this session by totp.identity: the claim totp.jwt_claim of request.jwt.claims, believed only of login roles in totp.jwt_logins, or the login role itself. NULL when nothing says.';
COMMENT ON FUNCTION totp.session_account() IS
'The account of this session. For the functions of totp_api. Errors: 42501 there is none.';
COMMENT ON FUNCTION totp.verified_account() IS
'The account of this session, which proved its second factor if the account has one; holds the account''s row. For the functions of totp_api. Errors: 42501 there is none, or it did not prove it; 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_verified(interval) IS
'Whether this session proved its second factor, not longer ago than max_age (and totp.session_ttl at most), with no change of the account''s factors since. A session is the claim session_id or jti, else the server connection. For row policies: USING ((SELECT totp.totp_verified(''15 min''))), so that it is called once a query. Errors: 22023 negative age.';
COMMENT ON FUNCTION totp.jwt_sign(jsonb) IS
'A JSON Web Token of the claims (RFC 7519), signed with HS256 and the secret in totp.jwt_secret_file. iat is now; exp is totp.jwt_ttl later unless the claims have one. Errors: 22023 no JSON object, more than 4096 bytes, or an exp that is no number of seconds; F0000 no secret.';
COMMENT ON FUNCTION totp.totp_reset(text, text) IS
'For administrators: removes all factors, backup codes and the lock of an account, which must enrol anew. False when there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_unlock(text, text) IS
'For administrators: lifts the lock and suspension of an account and forgets its failures. False when there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.backup_reissue(text, text) IS
'For administrators: puts a new set of backup codes in the place of the old and returns it; it cannot be read again. reason: 3 to 500 characters for the audit trail. Errors: 42704 the account has no active factor, 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_forget(text, text) IS
'For administrators: erases an account with its factors and codes; only its audit trail stays (see totp.audit_accounts). False when there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.totp_prune() IS
'For administrators: removes pending factors older than totp.pending_ttl, tokens that have ended and sessions older than totp.session_ttl, and returns their number. Pending factors and tokens also go bit by bit as new ones are made, sessions when their account proves itself again. Errors: 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_import(text, text, text, text) IS
'For administrators: makes an active factor from an otpauth://totp/ URI, as the usual apps write it, or a base32 secret of 80 to 1024 bits; says by a notice when it has fewer than 128. A pending factor of the label goes. Errors: 42710 a factor with this label or secret exists, 54000 more than 20 factors, 22023 no such URI, F0000, 55P03, 25006.';
COMMENT ON FUNCTION totp.totp_export(text, text, text) IS
'For administrators: the otpauth URI of an active factor, with its secret. reason: 3 to 500 characters for the audit trail. Errors: 42704 no active factor with this label, 22023, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.totp_rename(text, text, text) IS
'For administrators: gives an account another name and seals its secrets anew for it. reason: 3 to 500 characters for the audit trail. Errors: 42704 no such account, 42710 the new name is taken, 22023, 55P03, F0000, XX001, 25006.';
COMMENT ON FUNCTION totp.key_generate() IS
'Makes an encryption key. When there is no keyring yet, writes it to totp.key_file with mode 0600 and says so; else returns a new key, to be added to the keyring by hand. Superusers only. Errors: 42501, F0000.';
COMMENT ON FUNCTION totp.key_ids() IS
'The ids of the keys in the keyring, for the view key_status. Errors: F0000.';
COMMENT ON FUNCTION totp.key_rotate_step(integer, boolean) IS
'One step of key_rotate, a batch or a moment of the rest after it: true when the rotation has ended.';
COMMENT ON FUNCTION totp.preflight() IS
'For administrators: the checklist of a deployment. One row for each check: status ok, warn (weaker than it could be) or fail (does not work, or protects nothing), what was found, and what to do. Reads all rows of factors and backup codes.';
COMMENT ON FUNCTION totp.totp_code(text, timestamptz, text, integer, integer) IS
'The TOTP code of a base32 secret at a time (RFC 6238, 4). Reads no table. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_check(text, text, timestamptz, text, integer, integer, integer) IS
'Whether a code is right for a base32 secret at a time, up to drift_steps steps before or after. Reads no table and spends nothing: use totp_verify for logins. False for NULL and malformed codes. Errors: 22023.';
COMMENT ON FUNCTION totp.totp_uri(text, text, text, text, integer, integer) IS
'The otpauth URI of a base32 secret, as authenticator apps read it. Errors: 22023.';
COMMENT ON FUNCTION totp.qr_svg(text) IS
'A QR code as an SVG picture, black on white with its quiet zone (ISO/IEC 18004, level M). Errors: 22023 more than 2331 bytes.';
COMMENT ON FUNCTION totp.qr_text(text) IS
'A QR code in Unicode half blocks, for a terminal with light text on a dark ground. Errors: 22023 more than 2331 bytes.';
COMMENT ON FUNCTION totp.guard_usage() IS
'The row of the view guard_status; none without shared_preload_libraries.';
