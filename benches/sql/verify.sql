SELECT totp.totp_verify(:account, :code);
