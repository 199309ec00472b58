"""Signed tokens as Python reads and makes them, with nothing but a key: a peer."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

VERSION = 1
KINDS = {"challenge": b"C", "recovery": b"R", "trust": b"T"}
BODY_BYTES = 26


def decoded(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(raw):
    return urlsafe_b64encode(raw).decode().rstrip("=")


def signature(key, body):
    """HMAC-SHA256 under a key that is made from a line of the key file for tokens alone."""
    return hmac.digest(hmac.digest(key.encode(), b"totp token", "sha256"), body, "sha256")


@dataclass(frozen=True)
class SignedToken:
    """What a token says."""

    kind: str
    id: bytes
    expires_at: int  # microseconds since 1970

    @classmethod
    def read(cls, text, key):
        raw = decoded(text)
        body = raw[:BODY_BYTES]
        assert hmac.compare_digest(raw[BODY_BYTES:], signature(key, body))
        assert body[0] == VERSION
        (kind,) = (kind for kind, letter in KINDS.items() if letter == body[1:2])
        return cls(kind, body[2:18], int.from_bytes(body[18:], "big", signed=True))

    def signed(self, key):
        expiry = self.expires_at.to_bytes(8, "big", signed=True)
        body = bytes([VERSION]) + KINDS[self.kind] + self.id + expiry
        return encoded(body + signature(key, body))
