-- Ownership and privileges. Runs last.

-- Functions that access tables run as totp_owner, which has no other privileges.
DO $$
DECLARE
    definer record;
BEGIN
    FOR definer IN
        SELECT oid::pg_catalog.regprocedure AS signature FROM pg_catalog.pg_proc
        WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace) AND prosecdef
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO totp_owner', definer.signature);
    END LOOP;
END $$;

-- Everything begins with no grants, neither those that PUBLIC has by default nor those from the installer's
-- default privileges. Anyone who may use a type, even a row type, can keep it from being dropped or changed.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT object, pg_catalog.string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::pg_catalog.regrole::text END, ', ') AS grantees
        FROM (
            SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::pg_catalog.regclass AS object,
                   relowner AS owner, COALESCE(relacl, pg_catalog.acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
            FROM pg_catalog.pg_class
            WHERE relnamespace = 'totp'::pg_catalog.regnamespace AND relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'ROUTINE ' || oid::pg_catalog.regprocedure, proowner, COALESCE(proacl, pg_catalog.acldefault('f', proowner))
            FROM pg_catalog.pg_proc
            WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace)
            UNION ALL
            SELECT 'TYPE ' || oid::pg_catalog.regtype, typowner, COALESCE(typacl, pg_catalog.acldefault('T', typowner))
            FROM pg_catalog.pg_type
            WHERE typnamespace = 'totp'::pg_catalog.regnamespace AND (typcategory <> 'A' OR typtype = 'd')
            UNION ALL
            SELECT 'SCHEMA ' || nspname, nspowner, COALESCE(nspacl, pg_catalog.acldefault('n', nspowner))
            FROM pg_catalog.pg_namespace
            WHERE nspname IN ('totp', 'totp_api')
        ) AS objects, LATERAL pg_catalog.aclexplode(acl) AS privilege
        WHERE grantee <> owner
        GROUP BY object
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', granted.object, granted.grantees);
    END LOOP;
END $$;
-- pg_dump does not dump privileges on row types, and warns if it finds them here.
DELETE FROM pg_catalog.pg_init_privs USING pg_catalog.pg_type
WHERE classoid = 'pg_catalog.pg_type'::pg_catalog.regclass AND objoid = pg_type.oid
  AND typnamespace = 'totp'::pg_catalog.regnamespace AND typrelid <> 0;

-- Functions with side effects are declared expensive, so that a query evaluates them after all other
-- conditions, and for as few rows as possible: each call counts as an attempt. Functions that only read tables
-- are cheaper, and those that only compute are cheapest.
DO $$
DECLARE
    estimate record;
BEGIN
    FOR estimate IN
        SELECT oid::pg_catalog.regprocedure AS signature,
               CASE provolatile WHEN 'v' THEN 10000 WHEN 's' THEN 1000 ELSE 100 END AS cost,
               CASE WHEN proretset THEN ' ROWS 1' ELSE '' END AS rows
        FROM pg_catalog.pg_proc
        WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace)
          AND prokind = 'f'
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s COST %s%s', estimate.signature, estimate.cost, estimate.rows);
    END LOOP;
END $$;

-- Who can call which function, and what \df+ shows for it: roles without their prefix, PUBLIC for everyone.
-- Every function is listed, including those that only their owner calls. Functions that SQL scripts create have
-- their comments in those scripts.
DO $$
DECLARE
    entry record;
    role text;
    listed oid[];
BEGIN
    FOR entry IN
        SELECT * FROM (VALUES
            -- Anyone: what to begin with, and computations on secrets that the caller already has.
            ('PUBLIC', 'totp.help()', NULL),
            ('PUBLIC', 'totp.totp_code(text, timestamptz, text, integer, integer)',
'Returns the TOTP code of a base32 secret at a given time (RFC 6238, section 4). Reads no table. Errors: 22023.'),
            ('PUBLIC', 'totp.totp_check(text, text, timestamptz, text, integer, integer, integer)',
'Returns whether a code is valid for a base32 secret at a given time, up to drift_steps steps before or after. Reads no table and spends nothing: use totp_verify for logins. Returns false for NULL and malformed codes. Errors: 22023.'),
            ('PUBLIC', 'totp.totp_uri(text, text, text, text, integer, integer)',
'Returns the otpauth URI of a base32 secret, as read by authenticator apps. Errors: 22023.'),
            ('PUBLIC', 'totp.qr_svg(text)',
'Returns a QR code as an SVG image, black on white with a quiet zone (ISO/IEC 18004, level M). Errors: 22023 more than 2331 bytes.'),
            ('PUBLIC', 'totp.qr_text(text)',
'Returns a QR code drawn with Unicode half blocks, for a terminal with light text on a dark background. Errors: 22023 more than 2331 bytes.'),
            -- The application's backend: it names the account, so it is trusted with all of them.
            ('app', 'totp.totp_create(text, text, text, text, text, integer, integer, boolean, boolean)',
'Creates a new TOTP secret for an account, as a pending factor that totp_confirm activates. An active factor with the same label keeps working until then. Returns the base32 secret, the otpauth URI and its QR code as SVG; they cannot be retrieved again. label: 1 to 64 characters. issuer: when NULL, that of totp.tenant_function, else totp.issuer; must not contain a colon. account_name: the name shown by the authenticator app; the account when NULL. algorithm: SHA1, SHA256 or SHA512. digits: 6 to 8; when NULL, those of totp.tenant_function, else 6. period: 1 to 120 seconds; when NULL, that of totp.tenant_function, else 30. reuse: return the existing pending secret, rather than a new one, if it was created less than a minute ago with the same other arguments and, if the caller is the account''s own session, by that session. qr: false leaves qr_svg NULL, which saves most of the time of a call. Errors: 22023 invalid argument, 42883 or 21000 totp.tenant_function is wrong, 54000 more than 20 factors, 55P03 row locked for longer than totp.lock_timeout, F0000 no keyring, 25006 read-only transaction.'),
            ('app', 'totp.totp_confirm(text, text, text)',
'Activates the pending factor with the given label, using its first code, which is then spent. Whitespace, invisible characters, and dashes between digits are ignored. Returns whether the factor is now active, new backup codes if the account had none (shown only here), the reason (ok, invalid, locked, suspended or clock_off), the seconds until the lock ends, and, for clock_off, by how many seconds the app''s clock seems to be ahead of the server''s. A wrong code counts as a failure, and so does a code for another time. Ends the verification of the account''s other sessions, and voids its other pending factors. Errors: 42704 no pending factor, it is older than totp.pending_ttl, or the account''s factors have changed since; 22023; 55P03; F0000; XX001; 25006.'),
            ('app', 'totp.totp_disable(text, text)',
'Turns off two-factor authentication for an account, given a valid TOTP code, backup code or temporary pass. Removes its factors, backup codes, tokens and verified sessions. Returns false if the code is refused, and for an account that must have a second factor (see totp_require); the code is not spent in that case. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.totp_remove(text, text, text)',
'Removes one of several authenticator apps of an account, given a valid TOTP code from any of them or a backup code. Returns false if the code is refused, and for the last active app, which only totp_disable removes; the code is not spent in that case. Ends the verification of the account''s other sessions. Errors: 42704 no factor with this label, 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.totp_verify(text, text)',
'Returns whether a code is a valid and unspent TOTP code of an active factor of the account, and spends it (RFC 6238, section 5.2). Returns false for anything else, including NULL, and while the account is locked or suspended. Whitespace, invisible characters, and dashes between digits are ignored. Errors: 22023 invalid account, 55P03 row locked for longer than totp.lock_timeout, F0000 keyring, XX001 damaged secret, 25006 read-only transaction.'),
            ('app', 'totp.backup_verify(text, text)',
'Returns whether a code is an unspent backup code of the account, and spends it. Success also clears failures and a suspension. The code is refused while the account is locked. Case, whitespace, dashes and invisible characters are ignored. Returns false for anything else, including NULL. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.totp_attempt(text, text)',
'Checks a TOTP code, backup code or temporary pass and returns a verdict. Works like totp_verify and backup_verify, but returns a row instead of a boolean: reason is ok, invalid, locked, suspended or not_enrolled; retry_after, and the same in seconds as retry_after_seconds, are set if the account is locked after the attempt. Call it in FROM: (totp_attempt(...)).* calls it once per column. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.totp_resync(text, text, text, text)',
'Adjusts to an authenticator app''s clock that is up to totp.resync_steps steps off, given two consecutive codes, both of which are then spent (RFC 6238, section 6). Returns false if they are not such a pair, which counts as a failure, and while the account is locked or suspended. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app admin', 'totp.token_assign(text, text, text, text)',
'Makes an imported hardware token a factor of an account, labelled with the token''s serial number, given two consecutive codes that it shows. The token''s clock may be up to 1000 steps off. Returns whether the token is now assigned, new backup codes if the account had none (shown only here), the reason (ok, invalid, locked or suspended), and the seconds until the lock ends. Wrong codes count as a failure. Both codes are then spent. Ends the verification of the account''s other sessions, and voids its pending factors. Errors: 42704 no token with this serial number, 55006 the token is assigned, 42710 the account has a factor with this label or secret, 54000 more than 20 factors, 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.backup_rotate(text, text)',
'Replaces the backup codes of an account with a new set of totp.backup_codes codes, given a valid TOTP or backup code. Returns the new set, which cannot be retrieved again, or NULL if the code is refused. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.challenge_create(text, text, text, jsonb, interval)',
'Creates a challenge token, which the client holds between password and second factor. purpose: 1 to 64 characters; challenge_verify must be given the same one. binding: any text that challenge_verify must be given again, such as a session ID or a transfer ID. claims: a JSON object of at most 4096 bytes, for the JSON Web Token of totp_api.challenge_verify. ttl: 1 second to 1 day, totp.challenge_ttl when NULL. An account without a factor gets a token, too. Errors: 22023, 55P03, F0000, 25006.'),
            ('app', 'totp.challenge_verify(text, text, text, text)',
'Checks a TOTP code, backup code or temporary pass for the account of a challenge. The challenge is used up by an accepted code, or by totp.challenge_attempts refused ones. reason is ok, invalid, locked, suspended, not_enrolled, expired, or spent (used, tried too often, or revoked by a change to the account''s factors). A forged token, or a different purpose or binding, results in invalid, and account is then NULL. Failures also count for the account. Call it in FROM. Errors: 55P03, F0000, XX001, 25006.'),
            ('app', 'totp.challenge_account(text)',
'Returns the account of a challenge that can still be completed, otherwise NULL. The challenge is not changed. Errors: F0000.'),
            ('app', 'totp.recovery_create(text, interval)',
'Creates a recovery token for a user who has lost all authenticator apps and backup codes. The application emails it to the user. Earlier tokens remain valid. ttl: 1 second to 7 days, totp.recovery_ttl when NULL. An account that does not exist gets a token, too. Errors: 22023, 55P03, F0000, 25006.'),
            ('app', 'totp.recovery_confirm(text)',
'Turns off two-factor authentication for the account of a recovery token. Removes its factors, backup codes, lock, tokens and verified sessions. Returns false if the token is invalid, has expired, was used or was revoked. With totp.recovery_delay, the call only begins the delay, and returns false; the recovery takes effect after it unless it is canceled. Errors: 55P03, F0000, 25006.'),
            ('app', 'totp.recovery_attempt(text)',
'Does the same as recovery_confirm, but returns a row: recovered, reason (ok, waiting, invalid, expired or spent), and, while it waits, effective_at, the time at which it takes effect. Errors: 55P03, F0000, 25006.'),
            ('app admin', 'totp.recovery_cancel(text)',
'Cancels the recovery of an account that waits for totp.recovery_delay, and revokes all recovery tokens of the account. Any accepted code of the account cancels a recovery that waits, too. Returns whether there was anything to cancel. Errors: 22023, 55P03, F0000, 25006.'),
            ('app', 'totp.trust_create(text, interval)',
'Creates a token for a trusted device, which can then skip the second factor. Keep it in a cookie. The account must have had a code accepted within the last totp.challenge_ttl, from any client: call it only for the client whose code was accepted. ttl: 1 second to 366 days, totp.trust_ttl when NULL. Errors: 42501 no such code, 22023, 55P03, F0000, 25006.'),
            ('app', 'totp.trust_verify(text, text)',
'Returns whether a token proves that a device is trusted by the account. The trust ends when the token expires, after trust_revoke, or after any change to the account''s factors. Nothing is spent. Errors: 22023, F0000.'),
            ('app', 'totp.trust_revoke(text)',
'Revokes the trust in all devices of an account and returns their number. Errors: 22023, 55P03, F0000, 25006.'),
            -- Approvals: a code for exactly one action.
            ('app', 'totp.approval_request(text, jsonb, text, text, interval)',
'Requests an approval: a code for exactly one action. action: 1 to 64 letters, digits and characters of _-.:/. payload: a JSON object of at most 4096 bytes with the values that are approved. account: who asks, and whose sessions can use the approval; that of this session by default. approver: who must confirm, if not the account itself. ttl: 1 second to 7 days, totp.approval_ttl when NULL. Returns the ID, and in summary what to show whoever confirms. Errors: 22023, 42501 no account, or one that must enrol first, 54000 more than 100 pending, 55P03, F0000, 25006.'),
            ('app', 'totp.approval_confirm(uuid, text)',
'Confirms an approval, given a valid TOTP code, backup code or temporary pass of the account that is asked: approver, or else the account itself. Returns a verdict; a correct code is spent, and does not verify the session. reason is ok, invalid, locked, suspended, not_enrolled, expired, or spent (confirmed, used or cancelled before); for an unknown ID, invalid, and account is NULL. Failures count for the account. Call it in FROM. Errors: 22023, 55P03, F0000, XX001, 25006.'),
            ('app admin auditor', 'totp.approval_status(uuid)',
'Returns an approval: its state, which is pending, confirmed, used, cancelled or expired, and what was requested by whom. Returns no row for an unknown ID, or if the approval was removed, a day after it expired. Errors: 22023.'),
            ('app', 'totp.approval_cancel(uuid)',
'Cancels an approval that is pending, or confirmed and not used. Returns whether it did. Errors: 22023, 55P03, F0000, 25006.'),
            ('app admin', 'totp.approval_use(text, jsonb)',
'Uses a confirmed approval of the session''s account for an action that is no row, and returns whether there was one. Call it in the function that performs the action, in the same transaction. Errors: 42501 no account, or the account must enrol first; 22023, 55P03, F0000, 25006.'),
            ('', 'totp.approval_spend(text, jsonb, boolean)',
'Works like approval_use; if by_another is true, only an approval that another account has confirmed counts. Used by check_approval.'),
            ('owner', 'totp.approval_payload(text, regclass, anyelement, anyelement, text[])', NULL),
            ('owner', 'totp.row_account(regclass, anyelement, text)', NULL),
            ('owner', 'totp.check_approval(text, regclass, anyelement, anyelement, text[], boolean)', NULL),
            -- Status of accounts and of shared memory.
            ('app admin auditor', 'totp.totp_enabled(text)',
'Returns whether an account has an active factor. Errors: 22023.'),
            ('app admin auditor', 'totp.totp_status(text)',
'Returns the state of an account in one row: enabled, pending factor, active factors, unused backup codes, consecutive failures, end of the lock, suspension, last accepted code, when a recovery that waits takes effect; and whether it must have a second factor, and by when (see totp_requirement). All are false, 0, NULL or not_required for an unknown account. Errors: 22023.'),
            ('app admin auditor', 'totp.totp_requirement(text)',
'Returns whether an account must have a second factor, by when, how much time is left, and why. state is not_required, pending (must enrol by the deadline), overdue (must enrol before anything else), enrolled (has a second factor and must keep one) or exempt (nothing until the exemption ends; deadline and reason are then those of the exemption, if it ends after the deadline). The server''s clock decides. Errors: 22023.'),
            ('app admin auditor', 'totp.backup_remaining(text)',
'Returns the number of unused backup codes of an account. Errors: 22023.'),
            ('admin auditor owner', 'totp.guard_usage()',
'Returns how full shared memory is, or no row without shared_preload_libraries. Used by the view guard_status.'),
            ('admin auditor owner', 'totp.key_ids()',
'Returns the IDs of the keys in the keyring. Used by the view key_status. Errors: F0000.'),
            ('pg_monitor admin auditor owner', 'totp.metric_values()',
'Returns what shared memory has counted since the server started, and the keys of the keyring. Used by the view metrics. name, label and outcome say what value counts.'),
            ('admin', 'totp.preflight()',
'Checks the configuration of a deployment. For administrators. Returns one row per check: status ok, warn (weaker than it could be) or fail (does not work, or protects nothing), what was found, and what to do. Reads all rows of factors, backup codes and hardware tokens. pg_hba.conf and the state of standbys are read with the rights of the session.'),
            ('admin', 'totp.preflight_ok()',
'Returns whether no check of preflight fails. For administrators. A deployment can end with this call.'),
            -- Row security policies and triggers: whose session this is, and whether it is verified.
            ('app user admin auditor owner', 'totp.current_account()',
'Returns the account of this session, as determined by totp.identity. This is the claim named by totp.jwt_claim in request.jwt.claims, which is trusted only for login roles in totp.jwt_logins, or the login role itself. Returns NULL if the account cannot be determined.'),
            ('app user admin auditor', 'totp.totp_verified(interval)',
'Returns whether this session was verified within max_age (at most totp.session_ttl), and the account''s factors have not changed since. A session is identified by its session_id or jti claim; without either, it is never verified. With totp.identity = role, the server connection is the session. In row security policies, write USING ((SELECT totp.totp_verified(''15 min''))), so that it is called once per query. Errors: 22023 negative age.'),
            ('app user admin auditor', 'totp.totp_compliant()',
'Returns whether the account of this session is not overdue: it has a second factor, or need not have one yet. False if the account cannot be determined. In row security policies, write USING ((SELECT totp.totp_compliant())), so that it is called once per query.'),
            ('app admin', 'totp.require_totp()', NULL),
            ('app admin', 'totp.require_approval()', NULL),
            ('app admin', 'totp.require_other_approval()', NULL),
            -- Users behind PostgREST: only their own account.
            ('user', 'totp_api.totp_create(text, text, boolean)', NULL),
            ('user', 'totp_api.totp_confirm(text, text)', NULL),
            ('user', 'totp_api.totp_verify(text)', NULL),
            ('user', 'totp_api.totp_disable(text)', NULL),
            ('user', 'totp_api.totp_remove(text, text)', NULL),
            ('user', 'totp_api.backup_rotate(text)', NULL),
            ('user', 'totp_api.totp_status()', NULL),
            ('user', 'totp_api.totp_factors()', NULL),
            ('user', 'totp_api.challenge_verify(text, text, text)', NULL),
            ('user', 'totp_api.approval_request(text, jsonb, text, interval)', NULL),
            ('user', 'totp_api.approval_confirm(uuid, text)', NULL),
            ('user', 'totp_api.approval_status(uuid)', NULL),
            ('user', 'totp_api.approval_cancel(uuid)', NULL),
            ('user', 'totp_api.approvals_pending()', NULL),
            -- Called by these functions, which run as totp_owner.
            ('owner', 'totp.session_account()',
'Returns the account of this session. Used by request_account. Errors: 42501 no account.'),
            ('owner', 'totp.missing_claim()',
'Returns the claim that the token of this session lacks: the one that names the account, or session_id if it has neither that nor jti. Returns NULL if there is no such claim, or no trusted token.'),
            ('owner', 'totp.request_account()', NULL),
            ('owner', 'totp.request_code(text)', NULL),
            ('owner', 'totp.verified_request_account()', NULL),
            ('owner', 'totp.verified_account()',
'Returns the account of this session if the session is verified or the account has no second factor. Locks the account''s row. Used by the functions in totp_api. Errors: 42501 no account, or the session is not verified; 55P03, 25006.'),
            ('', 'totp.account_factors(text)',
'Returns the factors of an account. Used by totp_api.totp_factors. Errors: 22023.'),
            ('', 'totp.disable_attempt(text, text)',
'Works like totp_disable, but also returns the reason and the seconds until the lock ends. Used by totp_api.totp_disable.'),
            ('', 'totp.remove_attempt(text, text, text)',
'Works like totp_remove, but also returns the reason and the seconds until the lock ends. Used by totp_api.totp_remove.'),
            ('', 'totp.rotate_attempt(text, text)',
'Works like backup_rotate, but also returns the reason and the seconds until the lock ends. Used by totp_api.backup_rotate.'),
            ('', 'totp.challenge_login(text, text, text)',
'Completes a login for totp_api.challenge_verify. Not for any other use.'),
            ('admin owner', 'totp.jwt_sign(jsonb)',
'Returns a JSON Web Token with the given claims (RFC 7519), signed with HS256 and the secret from totp.jwt_secret_command or totp.jwt_secret_file. iat is the current time; exp is totp.jwt_ttl later unless the claims contain it. Errors: 22023 not a JSON object, more than 4096 bytes, or an exp that is not a number of seconds; F0000 no secret.'),
            -- Administrators: each action has a reason that is audited.
            ('admin', 'totp.totp_reset(text, text)',
'Removes all factors, backup codes and the lock of an account, which must enrol again. For administrators. Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.totp_unlock(text, text)',
'Lifts the lock and suspension of an account and clears its failures. For administrators. Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.backup_reissue(text, text)',
'Replaces the backup codes of an account with a new set and returns it. For administrators. The codes cannot be retrieved again. reason: 3 to 500 characters for the audit trail. Errors: 42704 the account has no active factor, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.totp_import(text, text, text, text)',
'Creates an active factor from an otpauth://totp/ URI, as written by common authenticator apps, or from a base32 secret of 80 to 1024 bits, as one string or in groups of equal length. For administrators. Rejects a URI if its secret, algorithm, digits or period is invalid, repeated or ambiguous. Cleans and truncates the issuer and account name. Ignores other parameters; accepts &amp; for &. Raises a notice if the secret has fewer than 128 bits. A pending factor with the same label is removed. Errors: 42710 a factor with this label or secret already exists, 54000 more than 20 factors, 22023 not a valid URI or secret, F0000, 55P03, 25006.'),
            -- Moving from another system.
            ('admin', 'totp.import_rows(regclass, boolean, text)',
'Imports authenticator apps from a table or view with the columns account and secret (base32 or an otpauth URI; can also be called uri), and optionally label and last_step, the step of the last accepted code. Returns one row per account: the number of factors and backup codes imported, and why something was not. Apps that the account already has are skipped, so an import can be repeated; an account with another active app is reported and left unchanged. Without a last step, codes up to the current time are refused. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_django_otp(regclass, regclass, boolean, text)',
'Imports from the tables of django-otp and django-two-factor-auth: otp_totp_totpdevice, and for backup codes otp_static_statictoken. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_allauth(regclass, boolean, text)',
'Imports from the table of django-allauth, mfa_authenticator. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. Recovery codes are computed from their seed, for allauth''s default settings: 10 codes of 8 digits. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_django_totp(regclass, regclass, text, boolean, text)',
'Imports from the tables of django-totp, django_totp_totp and django_totp_backupcode. key_file: the name of a file in totp.import_directory that contains TOTP_ENCRYPTION_KEY. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_keycloak(regclass, boolean, text)',
'Imports from the table of Keycloak, credential. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. Keycloak stores only hashes of recovery codes; they are reported. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_keycloak(text, boolean, text)',
'Imports from the export of a Keycloak realm with its users, as JSON of at most 64 MB. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Errors: 22023 not such an export, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_supabase(regclass, boolean, text)',
'Imports verified TOTP factors from the table of Supabase Auth, auth.mfa_factors. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. Factors that Supabase Auth has encrypted are reported. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_better_auth(regclass, text, boolean, text)',
'Imports from the table of better-auth and Neon Auth, twoFactor. secret_file: the name of a file in totp.import_directory that contains BETTER_AUTH_SECRET or BETTER_AUTH_SECRETS. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Tables are read with the caller''s rights. Errors: 42809 not a table or view, 42703 a column is missing, 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_auth0(text, boolean, text)',
'Imports from users of Auth0 as JSON, an array or one user per line, with mfa_factors. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Errors: 22023 not such a document, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_fusionauth(text, boolean, text)',
'Imports from users of FusionAuth as JSON, {"users": [...]}, with their twoFactor: authenticator apps and recovery codes. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Errors: 22023 not such a document, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_oath_csv(text, boolean, text)',
'Imports hardware tokens from OATH CSV, as privacyIDEA reads it: lines of serial number, secret in hex, totp, digits (6) and period (30); a header line may come first. The algorithm follows from the length of the secret: SHA256 for 32 bytes, SHA512 for 64, otherwise SHA1. The tokens belong to nobody until token_assign. Returns one row per token, whose account is the serial number: factors is 1 if it was imported, and problem says why it was not. Tokens that were imported before are skipped. dry_run: only report. For administrators. Errors: 22023 not such a document, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_pskc(text, text, boolean, text)',
'Imports hardware tokens from PSKC (RFC 6030), XML of at most 64 MB without a document type declaration. Secrets can be encrypted with AES-CBC and must then have a MAC. key_file: the name of a file in totp.import_directory that contains the key, in hex or base64, or the password for PBKDF2; NULL if nothing is encrypted. The tokens belong to nobody until token_assign. Returns rows like import_oath_csv. dry_run: only report. For administrators. Errors: 22023 not such a document, or the key or password is not that of the document; 55P03, F0000, 25006.'),
            ('admin', 'totp.import_privacyidea(text, boolean, text)',
'Imports TOTP tokens with their users from an export of privacyIDEA: the CSV of pi-tokenjanitor, or its own format, which is JSON after decryption. The account is user@realm. Returns one row per account: the number of factors and backup codes imported, and why something was not. See import_rows. dry_run: only report. For administrators. Errors: 22023 not such a document, 55P03, F0000, 25006.'),
            ('admin', 'totp.token_remove(text, text)',
'Removes a hardware token that was imported. If it is assigned, the factor stays. For administrators. Returns false if there is no such token. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_libpam(text, text, boolean, text)',
'Imports the file .google_authenticator of google-authenticator-libpam, with its emergency codes, for an account. Returns one row. See import_rows. dry_run: only report. For administrators. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.import_migration(text, text[], boolean, text)',
'Imports, for one account, the otpauth-migration URIs from Google Authenticator''s transfer QR codes. Returns one row. See import_rows. dry_run: only report. For administrators. Errors: 22023 a URI is missing, damaged or of another transfer; 55P03, F0000, 25006.'),
            ('admin', 'totp.import_app(text, text, boolean, text)',
'Imports the unencrypted export of Aegis, 2FAS, Bitwarden, andOTP, Proton Authenticator or Stratum, for an account. Returns one row. See import_rows. dry_run: only report. For administrators. Errors: 22023 not such a document, 55P03, F0000, 25006.'),
            ('admin', 'totp.totp_export(text, text, text)',
'Returns the otpauth URI of an active factor, including its secret. For administrators. reason: 3 to 500 characters for the audit trail. Errors: 42704 no active factor with this label, 22023, F0000, XX001, 25006.'),
            ('admin', 'totp.totp_export_all(text[], text)',
'Returns the active factors of several accounts: account, label, the otpauth URI including the secret, and the last spent step, as import_rows reads them. For administrators. uri is NULL if the secret could not be decrypted. Accounts that do not exist are left out. Each factor is audited, and written to the server log before it is returned. reason: 3 to 500 characters for the audit trail. Errors: 22023, F0000, 25006.'),
            ('admin', 'totp.totp_export_migration(text[], text)',
'Returns the active factors of several accounts as URIs of up to ten factors each; shown as QR codes, Google Authenticator can scan them. For administrators. Factors with another period than 30 seconds or with seven digits, which that app does not know, are left out, and so are accounts that do not exist. Audited as totp_export_all. Errors: 22023, F0000, 25006.'),
            ('admin', 'totp.totp_rename(text, text, text)',
'Renames an account and re-encrypts its secrets for the new name. For administrators. reason: 3 to 500 characters for the audit trail. Errors: 42704 no such account, 42710 the new name is taken, 22023, 55P03, F0000, XX001, 25006.'),
            ('admin', 'totp.totp_forget(text, text)',
'Erases an account with its factors and codes. For administrators. Only its audit trail remains (see totp.audit_accounts). Returns false if there is no such account. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.pass_issue(text, text, interval, integer)',
'Issues a temporary pass for an account, in place of an earlier one, and returns it; it cannot be retrieved again. For administrators. It is accepted wherever a backup code is, except by backup_rotate, until it expires or its uses are spent. An accepted code of an authenticator app, totp_disable, totp_reset and a recovery also end it. The account need not have enrolled. A session that it verifies cannot issue passes, export secrets or reissue backup codes. reason: 3 to 500 characters for the audit trail. ttl: 1 second to 24 hours. uses: 1 to 20. Errors: 42501 the caller''s own account, or a session verified by a pass; 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.pass_revoke(text, text)',
'Revokes the temporary pass of an account, and ends the sessions that it verified. For administrators. Returns false if there were neither. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            -- Accounts that must have a second factor.
            ('admin', 'totp.totp_require(text, text, interval, boolean)',
'Requires an account to have a second factor, and returns by when. For administrators. The account need not have enrolled. Called again, also after a reset, it returns the same deadline and changes nothing, unless renew is true, which sets a new one. While it is required, an account cannot turn off two-factor authentication. grace: the time to enrol, 0 to 366 days; totp.grace when NULL. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.totp_exempt(text, timestamptz, text)',
'Exempts an account until a time from the requirement to have a second factor; a time that has passed ends an exemption, and infinity means the end of the year 9999. For administrators. The deadline stays as it is. Returns false if the account is not required. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.totp_release(text, text)',
'Lifts the requirement that an account has a second factor. For administrators. Returns false if there was none. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin', 'totp.require_enrolment()', NULL),
            ('admin', 'totp.totp_prune()',
'Removes pending factors older than totp.pending_ttl, expired tokens and sessions older than totp.session_ttl, and returns their number. Recoveries whose totp.recovery_delay has passed are carried out. For administrators. Pending factors and tokens are also removed gradually as new ones are created, and sessions when their account is verified again. Errors: 55P03, 25006.'),
            -- Events for the application.
            ('admin auditor', 'totp.events_read(bigint, integer)',
'Returns events after a position, in the order of their positions, at most max_rows of them, and at most 10,000. Pass the position of the last event that was handled, 0 to begin. No event that is committed later gets an earlier position. Readers wait for each other until the end of the transaction. In a read-only transaction and on a hot standby, returns only events that an earlier call has returned. With totp.events = off, no events are written. Errors: 22023, 55P03 another reader.'),
            -- The audit trail.
            ('admin auditor', 'totp.audit_seal()',
'Seals the entries of all transactions that have ended since the last seal: records their IDs and the root of their Merkle tree, signed and chained to the seal before. Entries of transactions that are still running follow in a later seal. Returns the number of the last seal, which is a new one only if there was something to seal; NULL if there is none. Call it at regular intervals. Errors: 25001 not at READ COMMITTED, F0000, 25006.'),
            ('admin auditor', 'totp.audit_digest()',
'Returns the digest of the last seal, in the format of the ledger of Azure SQL Database: database_name, block_id (the number of the seal), hash, last_transaction_commit_time (the time of its latest entry) and digest_time. Keep it where nobody who can write to the database can change it. Errors: 55000 no seal.'),
            ('admin auditor', 'totp.audit_checkpoint()',
'Returns a checkpoint of all seals, in the form of C2SP tlog-checkpoint: the name of the trail, the number of seals and the root of their Merkle tree, signed with Ed25519. Errors: 55000 no seal, F0000.'),
            ('admin auditor', 'totp.audit_verifier_key()',
'Returns the public key that verifies checkpoints, in the form of C2SP signed-note. It depends on the first encryption key. Errors: 55000 no seal, F0000.'),
            ('admin auditor', 'totp.audit_proof(bigint)',
'Returns the proof that an entry of the audit trail is in its seal, and the seal in the checkpoint (RFC 9162, section 2.1.3). Reads all entries of the seal. Errors: 42704 no such entry, 55000 not sealed yet.'),
            ('admin auditor', 'totp.audit_verify(timestamptz, timestamptz, jsonb)',
'Compares the audit trail with its signatures and seals, and the seals with each other and with digests. Returns one row for each finding: problem is altered, forged, missing, reordered, unsealed, pruned, key_missing or digest_mismatch. Then returns one row whose problem is NULL, and whose seal is the last one whose signature and entries are right, and up to which nothing was altered, forged, missing or reordered. since, until: check only entries of seals with entries in this time. digests: what audit_digest returned, or an array of them. Reads all entries. Works on hot standbys. Errors: 22023 digests, F0000.'),
            ('admin', 'totp.audit_prune(timestamptz, text)',
'Removes entries of the audit trail, seal by seal from the oldest, as long as all entries of a seal are older than the given time, and returns their number. For administrators. The seals stay, and a new entry says what was removed. reason: 3 to 500 characters for the audit trail. Errors: 22023, 55P03, F0000, 25006.'),
            ('admin auditor', 'totp.audit_names(text)',
'Returns the names that an account may have in the audit trail: its own, its keyed hash under each key, and its hash as version 0.1.0 wrote it (see totp.audit_accounts). Errors: 22023, F0000.'),
            ('admin', 'totp.forget_account()', NULL),
            ('admin', 'totp.rename_account()', NULL),
            ('admin', 'totp.key_rotate(integer)', NULL),
            ('admin', 'totp.key_rotate_step(integer, jsonb)',
'Performs one step of key_rotate, which is a batch or part of the pause after it. Used by key_rotate. state is what the previous step returned, NULL to begin; returns the state for the next step, or NULL when the rotation has finished. Errors: 22023, 25001, F0000, 25006.'),
            ('', 'totp.raise_check_violation()', NULL),
            -- Superusers.
            ('', 'totp.key_generate()',
'Generates an encryption key. If there is no keyring yet, writes the key to totp.key_file with mode 0600 and returns a message that says so; otherwise returns the new key, to be added to the keyring by hand. Superusers only. Errors: 42501; F0000 while rows of this database need keys that are not in the keyring.')
        ) AS functions (roles, function, comment)
    LOOP
        listed := listed || entry.function::pg_catalog.regprocedure::oid;
        FOREACH role IN ARRAY pg_catalog.string_to_array(entry.roles, ' ') LOOP
            IF role NOT IN ('PUBLIC', 'pg_monitor') THEN
                role := pg_catalog.quote_ident('totp_' || role);
            END IF;
            EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %s', entry.function, role);
        END LOOP;
        IF entry.comment IS NOT NULL THEN
            EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', entry.function, entry.comment);
        END IF;
    END LOOP;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_proc
        WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace)
          AND (oid <> ALL (listed) OR pg_catalog.obj_description(oid, 'pg_proc') IS NULL)
    ) THEN
        RAISE EXCEPTION 'a function is missing from the list of functions'
            USING DETAIL = 'The list must state who can call each function, and what it does.',
                  HINT = 'Add it to sql/functions.sql.';
    END IF;
END $$;

-- The roles have their own, so that it can be revoked from PUBLIC.
GRANT USAGE ON SCHEMA totp TO PUBLIC, totp_owner, totp_app, totp_user, totp_admin, totp_auditor;
GRANT USAGE ON SCHEMA totp_api TO totp_user;
GRANT SELECT ON totp.guard_status, totp.factor_status, totp.hardware_token_status, totp.account_status, totp.key_status, totp.audit_log, totp.audit_ocsf, totp.seal_log, totp.attacks
TO totp_admin, totp_auditor;
GRANT SELECT ON totp.approvals_pending TO totp_app, totp_user;
GRANT SELECT ON totp.metrics TO pg_monitor, totp_admin, totp_auditor;

-- Anonymous callers, if the role that PostgREST and Supabase use for them exists.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'anon') THEN
        GRANT USAGE ON SCHEMA totp_api TO anon;
        GRANT EXECUTE ON FUNCTION totp_api.challenge_verify(text, text, text) TO anon;
    END IF;
END $$;
