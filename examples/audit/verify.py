#!/usr/bin/env python3
"""Checks an exported audit trail of totp, away from the database, with Python's standard library.

Export the entries and the seals, as a member of totp_auditor:

    psql -XAtc 'SELECT row_to_json(e) FROM totp.audit_log AS e ORDER BY id, at' > entries.jsonl
    psql -XAtc 'SELECT row_to_json(s) FROM totp.seal_log AS s ORDER BY id' > seals.jsonl

and compare them with digests that were kept elsewhere, one or more, as audit_digest returned them:

    verify.py entries.jsonl seals.jsonl --digest digest.json

Digests show any change to sealed entries. With the key file (--keys), signatures are checked, too:
they show which entries were changed. docs/audit.md describes the format.
"""

import argparse
import hashlib
import hmac
import json
import sys
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from pathlib import Path

NO_HASH = bytes(32)
EPOCH = datetime.fromtimestamp(0, UTC)
# What the upgrade from version 0.1.0 has written into columns that were new.
UPGRADED = {"origin": 0, "xid": 0, "client": None, "application": None}


def encoded(fields):
    """Each field after its length in eight bytes, which are all ones for NULL."""
    return b"".join(
        b"\xff" * 8 if field is None else len(field).to_bytes(8, "big") + field for field in fields
    )


def integer(number):
    return number.to_bytes(8, "big", signed=True)


def micros(text):
    """Microseconds since 1970 of a time in JSON."""
    return integer((datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1))


def text(value):
    return None if value is None else value.encode()


def bytea(value):
    return bytes.fromhex(value.removeprefix("\\x"))


def canonical(detail):
    """JSON with sorted keys, without blanks."""
    if detail is None:
        return None
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def entry_message(entry):
    """The bytes that an entry's signature covers."""
    if not entry["key_id"]:
        return old_entry_message(entry)
    return encoded(
        [
            b"totp event v1",
            integer(entry["id"]),
            micros(entry["at"]),
            text(entry["account"]),
            text(entry["event"]),
            text(entry["outcome"]),
            text(entry["actor"]),
            text(entry["client"]),
            text(entry["application"]),
            text(canonical(entry["detail"])),
            integer(entry["origin"]),
            integer(entry["xid"]),
            text(entry["key_id"]),
        ]
    )


def old_entry_message(entry):
    """The same for an entry that version 0.1.0 wrote."""
    return encoded(
        [
            micros(entry["at"]),
            text(entry["account"]),
            text(entry["event"]),
            text(entry["outcome"]),
            text(entry["actor"]),
            text(canonical(entry["detail"]) or ""),
        ]
    )


def seal_message(seal):
    """The bytes that a seal's hash and signature cover."""
    return encoded(
        [
            b"totp seal v1",
            integer(seal["id"]),
            micros(seal["at"]),
            integer(seal["origin"]),
            integer(seal["from_xid"]),
            integer(seal["to_xid"]),
            integer(seal["entries"]),
            text(seal["ids"]),
            micros(seal["first_at"]),
            micros(seal["last_at"]),
            bytea(seal["root"]),
            bytea(seal["previous"]),
            integer(seal["next_xid"]),
            integer(seal["next_id"]),
            text(seal["key_id"]),
        ]
    )


def seal_hash(seal):
    return hashlib.sha256(seal_message(seal)).digest()


def leaf(data):
    """The hash of a leaf (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def entry_leaf(entry):
    return leaf(entry_message(entry) + encoded([bytea(entry["mac"])]))


def root(leaves):
    """The root of a Merkle tree (RFC 9162, section 2.1.1)."""
    if not leaves:
        return hashlib.sha256().digest()
    # Neighbours are joined level by level; one that is left over moves up.
    while len(leaves) > 1:
        pairs = zip(leaves[::2], leaves[1::2], strict=False)
        leaves = [node(*pair) for pair in pairs] + leaves[len(leaves) & ~1 :]
    return leaves[0]


def root_of_proof(index, size, hash, path):
    """The root that an inclusion proof leads to, or None (RFC 9162, section 2.1.3.2)."""
    last = size - 1
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            hash = node(sibling, hash)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            hash = node(hash, sibling)
        index, last = index >> 1, last >> 1
    return hash if last == 0 else None


def audit_key(key):
    """The key that signs the trail, derived from one line of the key file."""
    return hmac.digest(key.encode(), b"totp audit trail", "sha256")


def key_id(key):
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def read_keys(path):
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return {key_id(line): audit_key(line) for line in lines if line and not line.startswith("#")}


def is_signed(keys, message, row):
    """Whether a row has the right signature; None if the key is unknown. Version 0.1.0 did not write
    which key it was, and did not have some columns, which the upgrade has filled."""
    if not row["key_id"] and {name: row.get(name) for name in UPGRADED} != UPGRADED:
        return False
    tried = list(keys.values()) if not row["key_id"] else [keys.get(row["key_id"])]
    if None in tried:
        return None
    macs = (hmac.digest(key, message, "sha256") for key in tried)
    return any(hmac.compare_digest(mac, bytea(row["mac"])) for mac in macs)


def check_seals(seals, keys):
    """Yields what is wrong with the seals themselves."""
    number, previous = 0, NO_HASH
    for seal in seals:
        number += 1
        if seal["id"] != number:
            yield number, None, "missing", "the seal was removed"
            number = seal["id"]
        elif bytea(seal["previous"]) != previous:
            yield number, None, "altered", "the hash of the seal before is another one"
        if keys:
            yield from check_signature(keys, seal_message(seal), seal, number, None)
        previous = seal_hash(seal)


def check_signature(keys, message, row, seal, id):
    signed = is_signed(keys, message, row)
    if signed is None:
        yield seal, id, "key_missing", f"key {row['key_id']} is not in the key file"
    elif not signed:
        yield seal, id, "altered", "the signature does not match"


def check_digests(seals, digests):
    hashes = {seal["id"]: seal_hash(seal) for seal in seals}
    for digest in digests:
        seal = digest["block_id"]
        if seal not in hashes:
            yield seal, None, "digest_mismatch", "there is no such seal"
        elif hashes[seal].hex() != digest["hash"].lower().removeprefix("0x"):
            yield seal, None, "digest_mismatch", "the seal has another hash"


def check_entries(entries, seals, keys):
    """Yields what is wrong with the entries."""
    closed = {seal["id"]: [] for seal in seals}
    by_origin = {}
    for seal in seals:
        by_origin.setdefault(seal["origin"], []).append(seal)
    unsealed = 0
    prunes = []
    for entry in entries:
        owner = owner_of(entry, by_origin)
        if owner is None:
            unsealed += 1
        else:
            closed[owner].append(entry_leaf(entry))
        if entry["event"] == "audit_prune":
            prunes.append(entry["detail"])
        if keys:
            yield from check_signature(keys, entry_message(entry), entry, owner, entry["id"])
    # Without the key, nothing shows that the entry about it is genuine, except that it is sealed.
    hashes = {seal["id"]: seal_hash(seal).hex() for seal in seals}
    pruned = [detail["seal"] for detail in prunes if hashes.get(detail["seal"]) == detail["hash"]]
    for seal in seals:
        leaves = closed[seal["id"]]
        if len(leaves) == seal["entries"] and root(leaves) == bytea(seal["root"]):
            continue
        if seal["id"] <= max(pruned, default=0) and len(leaves) < seal["entries"]:
            yield seal["id"], None, "pruned", f"{seal['entries'] - len(leaves)} entries"
        elif len(leaves) < seal["entries"]:
            yield (
                seal["id"],
                None,
                "missing",
                f"{len(leaves)} of {seal['entries']} entries are left",
            )
        elif len(leaves) > seal["entries"]:
            yield seal["id"], None, "forged", f"{len(leaves)} entries, not {seal['entries']}"
        else:
            yield seal["id"], None, "altered", "the entries are not those that were sealed"
    if unsealed:
        yield None, None, "unsealed", f"{unsealed} entries"


def owner_of(entry, by_origin):
    """The seal to which an entry belongs: by its database and transaction, not by its ID."""
    seals = by_origin.get(entry["origin"], [])
    place = bisect_right(seals, entry["xid"], key=lambda seal: seal["from_xid"])
    if place and entry["xid"] < seals[place - 1]["to_xid"]:
        return seals[place - 1]["id"]
    return None


def verify(entries, seals, digests=(), keys=None):
    """Yields (seal, id, problem, detail) for all that is wrong."""
    yield from check_seals(seals, keys)
    yield from check_digests(seals, digests)
    yield from check_entries(entries, seals, keys)


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("entries", help="exported entries, one JSON object per line")
    parser.add_argument("seals", help="exported seals, one JSON object per line")
    parser.add_argument(
        "--digest", action="append", default=[], help="a digest, or an array of them"
    )
    parser.add_argument("--keys", help="the key file")
    arguments = parser.parse_args()
    digests = []
    for path in arguments.digest:
        digest = json.loads(Path(path).read_text())
        digests += digest if isinstance(digest, list) else [digest]
    keys = read_keys(arguments.keys) if arguments.keys else None
    entries, seals = read_lines(arguments.entries), read_lines(arguments.seals)
    failed = False
    for seal, id, problem, detail in verify(entries, seals, digests, keys):
        failed |= problem not in ("unsealed", "pruned")
        print(f"seal {seal or '-'} entry {id or '-'}: {problem}: {detail}")
    print(
        f"{len(entries)} entries, {len(seals)} seals, {len(digests)} digests: "
        f"{'NOT VERIFIED' if failed else 'verified'}"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
