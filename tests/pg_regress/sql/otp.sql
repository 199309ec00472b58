-- The pure functions, which anybody may call.
CREATE ROLE regress_totp_nobody;
SET ROLE regress_totp_nobody;

-- RFC 4226, appendix D: each counter value is a step of 30 seconds.
SELECT step, totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', to_timestamp(step * 30)) FROM generate_series(0, 9) AS step;

-- RFC 6238, appendix B: 8 digits, seeds as long as the hash.
SELECT algorithm, seconds, code, totp.totp_check(secret, code, to_timestamp(seconds), algorithm, 8) AS checks,
       totp.totp_check(secret, code, to_timestamp(seconds + 60), algorithm, 8) AS two_steps_later
FROM (VALUES
    ('SHA1', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'),
    ('SHA256', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA'),
    ('SHA512', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA')
) AS seed (algorithm, secret),
unnest(ARRAY[59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000]) AS seconds,
LATERAL totp.totp_code(secret, to_timestamp(seconds), algorithm, 8) AS code ORDER BY 1, 2;

-- One step of tolerance by default, more on request, none with 0.
SELECT drift, offset_steps, totp.totp_check('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ',
           totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', to_timestamp(3000 + 30 * offset_steps)),
           to_timestamp(3000), drift_steps => drift) AS accepted
FROM unnest(ARRAY[0, 1, 2]) AS drift, generate_series(-2, 2) AS offset_steps ORDER BY 1, 2;
-- A step ends with its last microsecond.
SELECT totp.totp_check('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '287082', '1970-01-01 00:00:59.999999+00', drift_steps => 0) AS last_microsecond,
       totp.totp_check('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '287082', '1970-01-01 00:01:00+00', drift_steps => 0) AS next_step;

-- Codes are digits; blanks, and dashes between digits, are ignored; anything else returns false, never NULL or an error.
SELECT code, totp.totp_check('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', code, to_timestamp(59)) AS accepted
FROM unnest(ARRAY['287082', ' 287 082 ', E'2870\t82\n', '', ' ', '28708', '2870820', '+287082', '-287082', '287-082', '２８７０８２', '28708a', '1e5', '94287082', NULL]) AS code;
SELECT totp.totp_check('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', repeat('1', 100000), to_timestamp(59)) AS long_code;

-- Secrets are accepted as people copy them.
SELECT totp.totp_code('gezd gnbv-gy3t qojq gezd gnbv gy3t qojq====', to_timestamp(59));
\set VERBOSITY default
SELECT totp.totp_code('GEZDGNBVGY3TQOJ0', to_timestamp(59));
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_code('GEZDGNBVGY3TQOJ1', to_timestamp(59));
SELECT totp.totp_code('GEZDGNBVGY3TQOJ8', to_timestamp(59));
SELECT totp.totp_code('', to_timestamp(59));
SELECT totp.totp_code('AE', to_timestamp(59));
SELECT totp.totp_code('GEZDGNBVGY3TQOI', to_timestamp(59));
SELECT totp.totp_code(repeat('A', 207), to_timestamp(59));
SELECT length(totp.totp_code(repeat('A', 205), to_timestamp(59))) AS of_128_bytes, length(totp.totp_code(repeat('A', 16), to_timestamp(59))) AS of_10_bytes;
SELECT totp.totp_code(repeat('A', 10000000), to_timestamp(59));
SELECT totp.totp_code(NULL, to_timestamp(59));
-- Parameters have limits.
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), 'MD5');
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), digits => 5);
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), digits => 9);
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), period => 0);
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), period => 121);
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(59), period => -30);
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', to_timestamp(-1));
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', 'infinity');
SELECT totp.totp_code('GEZDGNBVGY3TQOJQ', NULL);
SELECT totp.totp_check('GEZDGNBVGY3TQOJQ', '123456', to_timestamp(59), drift_steps => -1);
SELECT totp.totp_check('GEZDGNBVGY3TQOJQ', '123456', to_timestamp(59), drift_steps => 1001);
SELECT length(totp.totp_code('GEZDGNBVGY3TQOJQ', '200000-01-01 00:00:00+00')) AS far_future;

-- URIs.
SELECT totp.totp_uri('gezd gnbv gy3t qojq', 'jörg+x@example.com', 'A & B 100%');
SELECT totp.totp_uri('GEZDGNBVGY3TQOJQ', '🔑:a?b#c', 'Ünïcode', 'sha512', 8, 60);
SELECT totp.totp_uri('GEZDGNBVGY3TQOJQ', 'alice', 'a:b');
SELECT totp.totp_uri('GEZDGNBVGY3TQOJQ', '', 'Acme');
SELECT totp.totp_uri('GEZDGNBVGY3TQOJQ', 'alice', NULL);
SELECT totp.totp_uri('GEZDGNBVGY3TQOJQ', 'alice', repeat('x', 65));

-- QR codes.
SELECT totp.qr_text('otpauth');
SELECT totp.qr_svg('otpauth');
SELECT totp.qr_svg('');
SELECT totp.qr_svg(NULL);
SELECT totp.qr_text(repeat('x', 2332));
SELECT totp.qr_svg(repeat('x', 10000000));

-- Everything else is denied.
SELECT totp.totp_verify('alice', '123456');
SELECT totp.key_generate();
SELECT * FROM totp.accounts;
SELECT * FROM totp.guard_status;
RESET ROLE;
DROP ROLE regress_totp_nobody;
