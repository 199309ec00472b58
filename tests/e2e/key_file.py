"""The key file of a cluster, as a DBA edits it."""

import hashlib
import os

from cryptography.fernet import Fernet


def key_id(key):
    """What rows call a key: the first 16 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class KeyFile:
    """Reads and writes `totp.keys` in the data directory, or the key file that is elsewhere."""

    def __init__(self, cluster, path=None):
        self.owner = cluster.owner
        self.path = path or cluster.data_dir / "totp.keys"
        self._original = self.path.read_text() if self.path.exists() else None

    @property
    def text(self):
        return self.path.read_text()

    @property
    def keys(self):
        """The keys in it, the primary one first."""
        lines = (line.strip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def primary(self):
        return Fernet(self.keys[0])

    @property
    def mode(self):
        return self.path.stat().st_mode & 0o7777

    @mode.setter
    def mode(self, mode):
        self.path.chmod(mode)

    def write(self, *lines, owner=None):
        """Puts a new file with these lines in the place of the old one."""
        draft = self.path.with_suffix(".new")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.chmod(0o600)
        os.chown(draft, self.owner if owner is None else owner, -1)
        draft.replace(self.path)

    def remove(self):
        self.path.unlink()

    def restore(self):
        """Undoes whatever was done to it."""
        if self.path.is_dir():
            self.path.rmdir()
        self.path.unlink(missing_ok=True)
        if self._original is not None:
            self.write(*self._original.splitlines())
