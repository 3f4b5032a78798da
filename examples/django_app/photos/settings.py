"""What ``django-admin startproject`` writes, with two additions: ``presign.django`` and, at the end, ``PRESIGN``."""

import os

DEBUG = True
SECRET_KEY = os.environ["SECRET_KEY"]
ROOT_URLCONF = "photos.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "presign.django",
    "photos",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
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
]

PRESIGN = {
    "photos": {
        "backend": os.environ["PRESIGN_BUCKET"],  # such as s3://my-bucket/photos/?region=eu-central-1
        "content_types": ["image/png", "image/jpeg", "image/heic"],
        "max_bytes": 10_000_000,
        "authorize": "presign.django.authorization.signed_in",
    }
}
