"""What a leak would look like: a secret in every form it could take, and a search of raw files."""

import base64
import os
import subprocess

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def forms(raw):
    """Raw bytes, and the ways in which programs write bytes as text."""
    texts = [base64.b32encode(raw), base64.b64encode(raw), base64.urlsafe_b64encode(raw)]
    texts += [raw.hex().encode(), raw.hex().upper().encode()]
    texts.append(texts[0].lower())
    return {raw, *(text.rstrip(b"=") for text in texts)}


def secret_forms(secret):
    """A base32 secret, also encoded once more."""
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    text = secret.encode()
    return forms(raw) | {base64.b64encode(text).rstrip(b"="), text.hex().encode()}


def backup_code_forms(code):
    """A backup code as it is shown, as careless programs store it, and its random bytes."""
    plain = code.replace("-", "")
    number = 0
    for character in plain:
        number = number * 32 + CROCKFORD.index(character)
    texts = {code, code.lower(), plain, plain.lower()}
    return {text.encode() for text in texts} | forms(number.to_bytes(10, "big"))


def key_forms(key):
    return forms(base64.urlsafe_b64decode(key)) | {key.encode().hex().encode()}


def found(needles, path):
    """Which needles are in a file. grep looks for all of them at once, except for those that cannot
    be on a line of its input."""
    lines = {needle for needle in needles if not {0, 10} & set(needle)}
    command = ["grep", "--text", "--only-matching", "--fixed-strings", "--file=-", "--", path]
    environment = {**os.environ, "LC_ALL": "C"}
    grep = subprocess.run(
        command, input=b"\n".join(lines), env=environment, stdout=subprocess.PIPE, check=False
    )
    assert grep.returncode in (0, 1)
    content = path.read_bytes()
    others = {needle for needle in needles - lines if needle in content}
    return set(grep.stdout.splitlines()) | others
