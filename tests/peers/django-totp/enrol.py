"""Enrols users with django-totp. The arguments are the time of their logins, and a Fernet key."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))
import django_project

NOW = float(sys.argv[1])

django_project.start("rest_framework", "django_totp", TOTP_ENCRYPTION_KEY=sys.argv[2])

import cryptography.fernet
import pyotp
from django_totp.backup_code_utils import verify_backup_code
from django_totp.encryption import decrypt
from django_totp.models import Totp
from django_totp.totp import confirm_totp_setup, create_totp_setup, verify_totp_code

# Tokens of Fernet have the real time: readers refuse those from the future.
cryptography.fernet.time = SimpleNamespace(time=time.time)
time.time = lambda: NOW


def enrol(name, confirms=True):
    """A user who has an app and backup codes, and uses one of each."""
    user = django_project.new_user(name)
    create_totp_setup(user)
    app = pyotp.TOTP(decrypt(Totp.objects.get(user=user).secret_key))
    person = {"account": str(user.pk), "uri": app.provisioning_uri(name=name), "spent_code": app.at(NOW)}
    if not confirms:
        return person
    codes = confirm_totp_setup(user, app.at(NOW))
    assert verify_totp_code(user, app.at(NOW))
    assert verify_backup_code(user, codes[0])
    return {**person, "spent_backup_code": codes[0], "backup_codes": codes[1:]}


print(json.dumps({"one": enrol("one"), "two": enrol("two"), "unconfirmed": enrol("new", False)}))
