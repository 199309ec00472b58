"""Writes a PSKC document of hardware tokens to standard output.

usage: write.py plain | key ALGORITHM MAC KEY | password ALGORITHM PRF PASSWORD < TOKENS

TOKENS is JSON: a list of objects with serial, secret in hex, algorithm, suite, digits, period. KEY is
in hex."""

import json
import sys

from pskc import PSKC

ALGORITHM = "urn:ietf:params:xml:ns:keyprov:pskc:"


def main(form, *arguments):
    pskc = PSKC()
    for token in json.load(sys.stdin):
        pskc.add_key(
            id=token["serial"],
            serial=token["serial"],
            manufacturer="oath.Acme",
            algorithm=ALGORITHM + token["algorithm"],
            algorithm_suite=token.get("suite"),
            response_encoding="DECIMAL",
            response_length=token["digits"],
            secret=bytes.fromhex(token["secret"]),
            time_interval=token["period"],
        )
    if form == "key":
        algorithm, mac, key = arguments
        pskc.mac.setup(algorithm=mac)
        pskc.encryption.setup_preshared_key(
            key=bytes.fromhex(key), key_name="Pre-shared-key", algorithm=algorithm
        )
    elif form == "password":
        algorithm, prf, password = arguments
        pskc.encryption.setup_pbkdf2(
            password, iterations=5000, prf=prf or None, algorithm=algorithm
        )
    pskc.write(sys.stdout)


main(*sys.argv[1:])
