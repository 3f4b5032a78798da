"""The Django project of the tests: configured once in each process that imports this module."""

from __future__ import annotations

import django
from django.conf import settings

# Threads of the views see the same database.
DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:presign?mode=memory&cache=shared"}

if not settings.configured:
    settings.configure(
        SECRET_KEY="the secret of the project that tests presign.django",
        ROOT_URLCONF="tests.django.project_urls",
        ALLOWED_HOSTS=["testserver"],
        STATIC_URL="static/",
        DATABASES={"default": DATABASE},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "presign.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    )
    django.setup()
