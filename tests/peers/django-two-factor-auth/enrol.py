"""Enrols users through the pages of django-two-factor-auth. The argument is the time of their logins."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import django_project

NOW = float(sys.argv[1])
time.time = lambda: NOW

django_project.start(
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "two_factor",
    ROOT_URLCONF="__main__",
    LOGIN_URL="two_factor:login",
    LOGIN_REDIRECT_URL="two_factor:profile",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django_otp.middleware.OTPMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
)

import pyotp
from django.test import Client
from django.test.utils import setup_test_environment
from django.urls import include, path, reverse
from two_factor.urls import urlpatterns as pages

urlpatterns = [path("", include(pages))]
# Makes responses say what their pages were given.
setup_test_environment()


def enrol(name, spends):
    """A user who sets up an app, prints backup tokens, and logs in again if `spends` is set."""
    user = django_project.new_user(name)
    browser = Client()
    browser.force_login(user)
    setup = reverse("two_factor:setup")
    browser.get(setup)
    page = browser.post(setup, {"setup_view-current_step": "welcome"})
    app = pyotp.TOTP(page.context["secret_key"])
    step = {"setup_view-current_step": "generator", "generator-token": app.at(NOW)}
    assert browser.post(setup, step).status_code == 302
    browser.post(reverse("two_factor:backup_tokens"))
    page = browser.get(reverse("two_factor:backup_tokens"))
    tokens = [token.token for token in page.context["device"].token_set.all()]
    person = {
        "account": str(user.pk),
        "uri": app.provisioning_uri(name=name),
        "spent_code": app.at(NOW),
        "backup_codes": tokens,
    }
    if spends:
        log_in(name, "token-otp_token", app.at(NOW), "token")
        log_in(name, "backup-otp_token", tokens[0], "backup")
        person |= {"spent_backup_code": tokens[0], "backup_codes": tokens[1:]}
    return person


def log_in(name, field, code, step):
    browser = Client()
    login = reverse("two_factor:login")
    credentials = {"auth-username": name, "auth-password": "a password"}
    browser.post(login, {"login_view-current_step": "auth", **credentials})
    answer = browser.post(login, {"login_view-current_step": step, field: code})
    assert answer.status_code == 302, answer.context["form"].errors


print(json.dumps({"new": enrol("new", spends=False), "logged in": enrol("old", spends=True)}))
