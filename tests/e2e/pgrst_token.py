"""What PostgREST believes of an Authorization header: its src/PostgREST/Auth.hs and Auth/Jwt.hs.

Version 12 checks tokens with the library jose, versions 13 and 14 with jose-jwt and by themselves.
Left out: JSON Web Keys, jwt-aud, jwt-role-claim-key.
"""

import json
import time

import jwt

from pgrst_error import bad_token, no_token

ALGORITHMS = ["HS256", "HS384", "HS512"]
SKEW = 30  # seconds by which clocks may differ
# The claims with a time: whether it is wrong, and the texts of version 12 and of later ones.
TIMES = {
    "exp": (lambda at, now: at < now - SKEW, "JWT expired", "JWT expired"),
    "nbf": (lambda at, now: at > now + SKEW, "JWTNotYetValid", "JWT not yet valid"),
    "iat": (lambda at, now: at > now + SKEW, "JWTIssuedAtFuture", "JWT issued at future"),
}


def believed(authorization, secret, anon, version):
    """The claims of a request, with its role; somebody without a token has the role `anon`."""
    scheme, _, token = (authorization or "").partition(" ")
    claims = {}
    if scheme.lower() == "bearer":
        claims = _verified(token.strip(), secret, version)
    role = claims.get("role", anon)
    if role is None and "role" not in claims:
        raise no_token()
    return claims | {"role": role if isinstance(role, str) else json.dumps(role)}


def _verified(token, secret, version):
    if not token and version == 12:
        return {}
    claims = _signed(token, secret, version)
    complaint = _complaint(claims, version)
    if complaint:
        raise bad_token("PGRST301" if version == 12 else "PGRST303", complaint)
    return claims


def _signed(token, secret, version):
    """The claims, if the signature is right."""
    parts = token.count(".") + 1
    if not token:
        raise bad_token("PGRST301", "Empty JWT is sent in Authorization header")
    if parts != 3:
        old = f"Invalid number of parts: Expected 3 parts; got {parts}"
        text = f"Expected 3 parts in JWT; got {parts}"
        raise _undecoded(f"JWSError (CompactDecodeError {old})", text, None, version)
    try:
        claims = json.loads(jwt.PyJWS().decode(token, secret, ALGORITHMS))
    except jwt.InvalidAlgorithmError:
        text, details = "Wrong or unsupported encoding algorithm", None
        if jwt.get_unverified_header(token).get("alg") == "none":
            details = "JWT is unsecured but expected 'alg' was not 'none'"
        raise _undecoded("JWSError JWSNoSignatures", text, details, version) from None
    except jwt.InvalidSignatureError:
        text = "No suitable key or wrong key type"
        details = "None of the keys was able to decode the JWT"
        raise _undecoded("JWSError JWSInvalidSignature", text, details, version) from None
    except jwt.PyJWTError:
        text = "JWT cryptographic operation failed"
        raise _undecoded("JWSError (JSONDecodeError)", text, None, version) from None
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise bad_token("PGRST301" if version == 12 else "PGRST303", "Parsing claims failed")
    return claims


def _undecoded(old_text, text, details, version):
    return bad_token("PGRST301", *((old_text,) if version == 12 else (text, details)))


def _complaint(claims, version):
    """What is wrong with the claims, if anything."""
    now = int(time.time())
    for name, (is_wrong, old_text, text) in TIMES.items():
        # Only version 13 takes null for a value.
        if name not in claims or (claims[name] is None and version != 13):
            continue
        if isinstance(claims[name], bool) or not isinstance(claims[name], int | float):
            return f"The JWT '{name}' claim must be a number"
        if is_wrong(_seconds(claims[name], version), now):
            return old_text if version == 12 else text
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if audience is not None and not all(isinstance(one, str) for one in audiences):
        return "The JWT 'aud' claim must be a string or an array of strings"
    return None


def _seconds(number, version):
    """Since version 13 a time that is no whole number is read as 0: an expiry of 1970."""
    if version >= 13 and (abs(number) >= 2**63 or number != int(number)):
        return 0
    return number
