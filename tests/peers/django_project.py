"""A Django project of one file, for the packages that are enrolled with. Each has its own Django."""

import os

import django
from django.conf import settings

SETTINGS = {
    "SECRET_KEY": "a key for tests",
    "ALLOWED_HOSTS": ["*"],
    "USE_TZ": True,
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "DATABASES": {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "NAME": os.environ["PGDATABASE"],
        }
    },
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
}
APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
]


def start(*apps, **more):
    """Configures Django and makes its tables."""
    settings.configure(**SETTINGS, INSTALLED_APPS=[*APPS, *apps], **more)
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def new_user(name):
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user(name, f"{name}@example.org", "a password")
