SELECT bench.check_code(:secret, :code, :at);
