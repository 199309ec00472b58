"""Enrols users with django-otp. The argument is the time at which they log in."""

import json
import sys
import time
from base64 import b32encode
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import django_project

NOW = float(sys.argv[1])
time.time = lambda: NOW

django_project.start("django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static")

import pyotp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice


def enrol(name, drift=0, **options):
    """A user who has confirmed an app, and logs in with a code. It is `drift` steps ahead."""
    user = django_project.new_user(name)
    device = TOTPDevice.objects.create(user=user, name="my phone", confirmed=False, **options)
    app = pyotp.TOTP(b32encode(device.bin_key).decode(), digits=device.digits, interval=device.step)
    code = app.generate_otp(int(NOW - device.t0) // device.step + drift)
    assert device.verify_token(code)
    device.confirmed = True
    device.save()
    paper = user.staticdevice_set.create(name="backup")
    tokens = [StaticToken.random_token() for _ in range(3)]
    for token in tokens:
        paper.token_set.create(token=token)
    assert paper.verify_token(tokens[0])
    return {
        "account": str(user.pk),
        "uri": app.provisioning_uri(name=name),
        "spent_code": code,
        "spent_backup_code": tokens[0],
        "backup_codes": tokens[1:],
        "drift": drift,
    }


people = {
    "plain": enrol("plain"),
    "eight digits": enrol("eight", digits=8),
    "a minute": enrol("minute", step=60),
    "ahead": enrol("ahead", drift=1),
    "another epoch": enrol("epoch", t0=7),
}
two = enrol("two")
second = TOTPDevice.objects.create(user_id=two["account"], name="my phone")
two["second"] = pyotp.TOTP(b32encode(second.bin_key).decode()).provisioning_uri(name="two")
people["two apps"] = two
waiting = django_project.new_user("waiting")
TOTPDevice.objects.create(user=waiting, name="new", confirmed=False)
people["unconfirmed"] = {"account": str(waiting.pk)}
print(json.dumps(people))
