"""Calls from Python through psycopg for one turn of benches/run, with one connection.

The arguments are the task and its values as JSON: "fill" makes the users of django-totp, "django" checks
codes with its own function, and "verify" calls totp_verify.
"""

import itertools
import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/peers"))
USERS = 1_000
# Any Fernet key: django-totp gets it from its settings.
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def start_django():
    import django_project

    django_project.start("rest_framework", "django_totp", TOTP_ENCRYPTION_KEY=KEY)


def fill(values):
    start_django()
    from django.contrib.auth.models import User
    from django_totp.encryption import encrypt
    from django_totp.models import Totp

    users = User.objects.bulk_create(User(username=str(n)) for n in range(USERS))
    Totp.objects.bulk_create(Totp(user=user, secret_key=encrypt(values["secret"])) for user in users)
    return lambda: None


def django(values):
    start_django()
    from django.contrib.auth.models import User
    from django_totp.totp import verify_totp_code

    users = itertools.cycle(User.objects.all())
    return lambda: verify_totp_code(next(users), values["code"])


def verify(values):
    import psycopg

    connection = psycopg.connect(autocommit=True)
    accounts = iter(random.Random(values["seed"]).sample(range(1, values["accounts"] + 1), values["accounts"]))

    def call():
        query = "SELECT totp.totp_verify(%s, %s)"
        return connection.execute(query, (str(next(accounts)), values["code"])).fetchone()[0]

    return call


def main():
    task, values = sys.argv[1], json.loads(sys.argv[2])
    call = {"fill": fill, "django": django, "verify": verify}[task](values)
    if task == "fill":
        return
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < values["seconds"]:
        if not call():
            sys.exit(f"{task}: a right code was refused")
        done += 1
    print(f"actually processed: {done}\ntps = {done / passed:.1f}")


main()
