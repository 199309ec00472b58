SELECT * FROM totp.totp_attempt(:account, :code);
