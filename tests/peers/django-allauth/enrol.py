"""Enrols users with django-allauth. The argument is the time of their logins."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import django_project

NOW = float(sys.argv[1])
time.time = lambda: NOW

django_project.start(
    "allauth",
    "allauth.account",
    "allauth.mfa",
    ROOT_URLCONF="__main__",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
    ACCOUNT_EMAIL_VERIFICATION="none",
)

import pyotp
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

urlpatterns = []


def enrol(name):
    """A user who has an app and recovery codes, and uses one of each."""
    user = django_project.new_user(name)
    app = pyotp.TOTP(generate_totp_secret())
    assert TOTP.activate(user, app.secret).validate_code(app.at(NOW))
    paper = RecoveryCodes.activate(user)
    codes = paper.generate_codes()
    assert paper.validate_code(codes[3])
    assert paper.get_unused_codes() == [*codes[:3], *codes[4:]]
    return {
        "account": str(user.pk),
        "uri": app.provisioning_uri(name=name),
        "spent_code": app.at(NOW),
        "spent_backup_code": codes[3],
        "backup_codes": paper.get_unused_codes(),
    }


print(json.dumps({"one": enrol("one"), "two": enrol("two")}))
