SELECT totp.challenge_create(:account) AS token \gset
SELECT verified FROM totp.challenge_verify(:token, :code);
