-- Prepended to each script: picks the accounts in random order, each once. :seed differs per turn.
\set turn :turn + 1
\set account :first + permute(:turn * :clients + :client_id, :accounts, :seed)
