"""STORAGES of django-storages as the place of uploads, and stored objects as files of a model."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.core.files.storage import storages as django_storages
from django.db import models
from google.auth.credentials import AnonymousCredentials

from presign import ConfigurationError, Presigner, StoredObject, UploadRequest
from presign.azure import AzureBackend
from presign.django import assign_file, get_presigner
from presign.django.storages import open_storage
from tests.conftest import PNG, Store, upload
from tests.django.conftest import Storages

ACCOUNT_KEY = base64.b64encode(bytes(64)).decode()


class Photo(models.Model):
    file = models.FileField(max_length=300)

    class Meta:
        app_label = "photos_of_the_tests"


def _s3_options(store: Store) -> dict[str, Any]:
    keys = store.session.get_credentials()
    assert keys is not None
    return {
        "bucket_name": store.bucket,
        "region_name": "us-east-1",
        "endpoint_url": store.endpoint_url,
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
        "location": "public/media",
    }


def new_photo() -> Photo:
    photo = Photo()
    # Django 4.2 does not notice that a test changes the default storage.
    photo.file.storage = django_storages["photos"]
    return photo


def _stored(presigner: Presigner) -> StoredObject:
    ticket = presigner.issue(UploadRequest(content_type="image/png", size=len(PNG)))
    assert upload(ticket, PNG).status in {200, 201, 204}
    return presigner.complete(ticket.token)


def test_an_s3_storage_is_the_place_and_its_file_field_reads_the_upload(
    storages: Storages, s3_reference: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    storages("s3.S3Storage", **_s3_options(s3_reference))
    stored = _stored(get_presigner("photos"))
    assert stored.key.startswith("public/media/")
    photo = new_photo()
    assign_file(photo.file, stored)
    assert photo.file.name == stored.key.removeprefix("public/media/")
    # The field would upload a file that is not committed when the model is saved.
    assert photo.file._committed
    photo.file.storage = django_storages["photos"]
    with photo.file.open() as file:
        assert file.read() == PNG


def test_a_file_of_another_place_cannot_be_assigned(storages: Storages, s3_reference: Store) -> None:
    storages("s3.S3Storage", **_s3_options(s3_reference))
    elsewhere = StoredObject(key="other/x", object_url=None, size=1, content_type="image/png", etag="e")
    with pytest.raises(ConfigurationError, match="public/media/"):
        assign_file(new_photo().file, elsewhere)


def test_azure_and_google_storages_become_their_backends(storages: Storages) -> None:
    account = {"account_name": "account", "account_key": ACCOUNT_KEY, "azure_container": "photos"}
    storages("azure_storage.AzureStorage", **account, location="media")
    backend, prefix = open_storage("photos")
    same = AzureBackend(container="photos", account_name="account", account_key=ACCOUNT_KEY)
    assert (type(backend), backend.name, prefix) == (AzureBackend, same.name, "media/")
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    storages("gcloud.GoogleCloudStorage", bucket_name="photos", credentials=credentials)
    # The storage's own credentials are used: these cannot sign.
    with pytest.raises(ConfigurationError, match="sign"):
        open_storage("photos")
