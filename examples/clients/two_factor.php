<?php
// What two_factor_pg.php and two_factor_pdo.php have in common: the statements.

[$secret] = row('SELECT secret, uri FROM totp.totp_create($1)', $account);
$phone = fn (int $wait) => row("SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s')", $secret, $wait)[0];

$confirm = "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm($1, $2) WHERE confirmed";
echo 'wrong code confirms: ', is_row($confirm, $account, '00000000'), "\n";
$codes = explode(' ', row($confirm, $account, $phone(0))[0]);
echo 'backup codes: ', count($codes), "\n";

echo 'needs a code: ', is_row('SELECT 1 WHERE totp.totp_enabled($1)', $account), "\n";
$attempt = 'SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified';
echo 'wrong code: ', is_row($attempt, $account, '00000000'), "\n";
echo 'right code: ', is_row($attempt, $account, $phone(30)), "\n";
$backup = 'SELECT 1 WHERE totp.backup_verify($1, $2)';
echo 'backup code: ', is_row($backup, $account, $codes[0]), "\n";
echo 'same again: ', is_row($backup, $account, $codes[0]), "\n";

$wait = 'SELECT retry_after_seconds FROM totp.totp_attempt($1, $2) WHERE retry_after_seconds > 0';
for ($i = 0; $i < 5; $i++) {
    $locked = row($wait, $account, '00000000');
}
echo 'locked for seconds: ', $locked[0], "\n";
