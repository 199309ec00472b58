<?php
// The five calls with pg_query_params. README.md says how to run this.

$db = pg_connect('');
$account = $argv[1];

// The row of an answer; null is a no. Values are text: 'f' would be true.
function row(string $query, ...$parameters): ?array
{
    global $db;
    $result = pg_query_params($db, $query, $parameters) or throw new Exception(pg_last_error($db));
    return pg_fetch_row($result) ?: null;
}

function is_row(...$call): string
{
    return row(...$call) === null ? 'false' : 'true';
}

require 'two_factor.php';
