SELECT totp.totp_verify(:account, :wrong);
