-- The first thing to call in psql.

CREATE FUNCTION totp.help() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT format($text$totp %s: two-factor authentication in five statements

1. Enrol. Show the QR code, and the secret to those who cannot scan it.
   SELECT secret, uri, qr_svg FROM totp.totp_create($1);
2. Activate the app with its first code. Show the backup codes, once.
   SELECT confirmed, backup_codes, reason FROM totp.totp_confirm($1, $2);
3. After the password check: is a code needed?
   SELECT totp.totp_enabled($1);
4. Is this code right? It is accepted once.
   SELECT totp.totp_verify($1, $2);
5. The phone is lost. Is this backup code right?
   SELECT totp.backup_verify($1, $2);

$1 is your key for the user, as text, and $2 the code: pass both as bind parameters, and commit
afterwards. If your driver returns false as text, write SELECT 1 WHERE totp.totp_verify($1, $2), and
check for a row.

\df totp.*                            lists all functions, \df+ also what they do
SELECT * FROM totp.preflight();       says what this installation lacks
SELECT totp.key_generate();           makes the encryption key, once
GRANT totp_app TO your_backend_role;  lets your backend call these functions
$text$, extversion) FROM pg_extension WHERE extname = 'totp'
$$;
COMMENT ON FUNCTION totp.help() IS
'Returns the five statements that an application needs, and what to do first, as text. Begins with the version of the extension.';
