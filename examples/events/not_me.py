"""The page "This was not me", to which the mailers link: pip install psycopg, then run it with a port.

The link opens a page with a button, because mail scanners open links. The button cancels the
recovery of the account and revokes its links. The database role needs totp_app; LINK_SECRET is the
mailer's.
"""

import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import psycopg

BUTTON = '<form method="post"><button>This was not me: keep my second factor</button></form>'
DONE = "Two-factor authentication stays on. Change your password, and the one of your mailbox."
NOTHING = "There is no recovery to cancel. If your second factor is off, call support."


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(*((200, BUTTON) if self.account() else (404, "This link is not valid.")))

    def do_POST(self):
        account = self.account()
        if not account:
            return self.answer(404, "This link is not valid.")
        with psycopg.connect() as connection:
            query = "SELECT totp.recovery_cancel(%s)"
            (canceled,) = connection.execute(query, [account]).fetchone()
        self.answer(200, DONE if canceled else NOTHING)

    def account(self):
        """The account that the link was made for, if it is signed and has not expired."""
        link = dict(parse_qsl(urlsplit(self.path).query))
        account, expires = link.get("account", ""), link.get("expires", "")
        key, message = os.environ["LINK_SECRET"].encode(), f"{expires} {account}".encode()
        signature = hmac.digest(key, message, "sha256").hex().encode()
        if not hmac.compare_digest(signature, link.get("signature", "").encode()):
            return None
        return account if time.time() < int(expires) else None

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
