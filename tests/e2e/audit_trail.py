"""The audit trail as the example of the documentation reads it: a peer in plain Python."""

import importlib.util
import sys

from cluster import ROOT, until

SCRIPT = ROOT / "examples/audit/verify.py"


def load_script():
    spec = importlib.util.spec_from_file_location("audit_verify", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


verify = load_script()


def entries(client, condition="true", *parameters):
    query = f"SELECT row_to_json(e) FROM totp.audit_log AS e WHERE {condition} ORDER BY id, at"
    return [row[0] for row in client.rows(query, *parameters)]


def seals(client):
    return [
        row[0] for row in client.rows("SELECT row_to_json(s) FROM totp.seal_log AS s ORDER BY id")
    ]


def seal(client):
    """Seals all entries. Another transaction of the cluster may have to end first."""
    unsealed = """
        SELECT count(*) FROM totp.audit_log AS e LEFT JOIN (
            SELECT origin, max(to_xid) AS sealed FROM totp.seal_log GROUP BY origin) AS s USING (origin)
        WHERE s.sealed IS NULL OR e.xid >= s.sealed
    """
    numbers = []

    def is_all_sealed():
        numbers.append(client.value("SELECT totp.audit_seal()"))
        return client.value(unsealed) == 0

    until(is_all_sealed, what="seal of all entries")
    return numbers[-1]


def findings(client, **arguments):
    """What audit_verify finds, as (seal, id, problem), and the last good seal."""
    named = ", ".join(f"{name} => %s" for name in arguments)
    query = f"SELECT seal, id, problem FROM totp.audit_verify({named})"
    *found, last = [tuple(row) for row in client.rows(query, *arguments.values())]
    assert last[1:] == (None, None), last
    assert all(problem for _, _, problem in found)
    return found, last[0]
