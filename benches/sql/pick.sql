-- Goes before each contender: the accounts in random order, each once. :seed differs by round.
\set turn :turn + 1
\set account :first + permute(:turn * :clients + :client_id, :accounts, :seed)
