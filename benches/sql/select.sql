SELECT failures, locked_until FROM bench.accounts WHERE account = :account;
