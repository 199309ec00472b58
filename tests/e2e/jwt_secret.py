"""The secret of JSON Web Tokens, in the file that a server and an API server share."""

import os
import secrets

NAME = "jwt.secret"


class JwtSecret:
    """Writes the file into the data directory of a cluster, and makes it the setting's."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.path = cluster.data_dir / NAME
        self.text = secrets.token_urlsafe(32)

    def __enter__(self):
        self.write(f"{self.text}\n")
        self.cluster.configure(totp__jwt_secret_file=NAME)
        return self

    def __exit__(self, *_):
        self.cluster.configure(totp__jwt_secret_file=None)
        self.path.unlink(missing_ok=True)

    def write(self, text, mode=0o600):
        self.path.write_text(text)
        self.path.chmod(mode)
        os.chown(self.path, self.cluster.owner, -1)
