<?php
// The five calls with PDO. README.md says how to run this.

$parts = ['host' => 'PGHOST', 'port' => 'PGPORT', 'dbname' => 'PGDATABASE', 'user' => 'PGUSER'];
$address = implode(';', array_map(fn ($name) => "$name=" . getenv($parts[$name]), array_keys($parts)));
$db = new PDO("pgsql:$address", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$account = $argv[1];

// The row of an answer; null is a no. PDO numbers no parameters, but names them.
function row(string $query, ...$parameters): ?array
{
    global $db;
    $statement = $db->prepare(preg_replace('/\$(\d)/', ':p$1', $query));
    foreach ($parameters as $i => $value) {
        $statement->bindValue(':p' . ($i + 1), $value);
    }
    $statement->execute();
    return $statement->fetch(PDO::FETCH_NUM) ?: null;
}

function is_row(...$call): string
{
    return row(...$call) === null ? 'false' : 'true';
}

require 'two_factor.php';
