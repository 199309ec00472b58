SELECT totp.totp_check(:secret, :code, :at);
