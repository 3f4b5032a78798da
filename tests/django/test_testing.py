"""What a project uses in its own tests: uploads in memory, through its own settings, views and forms."""

from __future__ import annotations

import json
import socket
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.test.utils import override_settings

from presign import ConfigurationError, InspectedObject, Reject, TooLarge
from presign.django import assign_file, get_presigner
from presign.django.signals import upload_completed
from presign.django.testing import memory_uploads
from presign.testing import RefusedByStorage
from tests.conftest import PNG
from tests.django.conftest import Storages
from tests.django.test_fields import bound
from tests.django.test_storages import new_photo
from tests.django.uploading import signed_in

PHOTOS = {
    "backend": "s3://my-bucket/photos/?region=eu-central-1",
    "content_types": ["image/png"],
    "max_bytes": 100,
    "prefix": "new/",
    "authorize": "presign.django.authorization.signed_in",
}


@pytest.fixture(autouse=True)
def _settings_without_credentials_and_network(monkeypatch: pytest.MonkeyPatch) -> Any:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with override_settings(PRESIGN={"photos": PHOTOS, "scans": PHOTOS}):
        yield


def _post(client: Any, path: str, body: object) -> Any:
    return client.post(f"/uploads/photos/{path}", json.dumps(body), content_type="application/json")


def test_a_form_that_is_posted_with_the_token_has_the_stored_object(users: ModuleType) -> None:
    completed: list[object] = []
    upload_completed.connect(receiver := lambda completion, **_: completed.append(completion.stored))
    with memory_uploads("photos") as uploads:
        form = bound(users.alice, uploads.token(PNG, content_type="image/png", user=users.alice, name="cat.png"))
        assert form.is_valid(), form.errors
        stored = form.cleaned_data["photo"]
        assert stored.key.startswith("photos/new/")
        assert uploads.backend.objects[stored.key].content == PNG
    upload_completed.disconnect(receiver)
    assert completed == [stored]


def test_the_token_is_valid_for_its_user_alone(users: ModuleType) -> None:
    with memory_uploads("photos") as uploads:
        for owner in (users.alice, None):
            form = bound(users.mallory, uploads.token(PNG, content_type="image/png", user=owner))
            assert form.errors.as_data()["photo"][0].code == "invalid_token"


def test_wrong_uploads_are_refused_as_they_are_in_production(users: ModuleType) -> None:
    with memory_uploads("photos") as uploads:
        with pytest.raises(TooLarge):
            uploads.token(bytes(101), content_type="image/png", user=users.alice)
        form = bound(users.alice, uploads.token(b"GIF89a, no PNG", content_type="image/png", user=users.alice))
        assert form.errors.as_data()["photo"][0].code == "rule_violated"
        assert uploads.backend.objects == {}


def test_the_views_issue_tickets_for_the_same_storage_and_still_ask_authorize(users: ModuleType) -> None:
    with memory_uploads("photos") as uploads:
        assert _post(Client(), "upload", {"type": "image/png"}).status_code == 401
        client = signed_in(users.alice)
        ticket = _post(client, "upload", {"type": "image/png", "size": len(PNG)}).json()
        with pytest.raises(RefusedByStorage):
            uploads.backend.upload(ticket, PNG + b"more")
        assert _post(client, "complete", {"token": ticket["token"]}).json()["code"] == "not_uploaded"
        uploads.backend.upload(ticket, PNG)
        stored = _post(client, "complete", {"token": ticket["token"]})
        assert (stored.status_code, stored.json()["size"]) == (200, len(PNG))


def test_a_large_file_comes_in_parts_in_the_views_and_for_a_form(users: ModuleType) -> None:
    film = PNG.ljust(40, b"a") + b"the second part"
    in_parts = {**PHOTOS, "parts_from_bytes": 41, "part_bytes": 40}
    with override_settings(PRESIGN={"photos": in_parts}), memory_uploads("photos") as uploads:
        form = bound(users.alice, uploads.token(film, content_type="image/png", user=users.alice))
        assert form.is_valid(), form.errors
        assert uploads.backend.objects[form.cleaned_data["photo"].key].content == film
        client = signed_in(users.alice)
        ticket = _post(client, "upload", {"type": "image/png", "size": len(film)}).json()
        uploads.backend.upload_part(ticket["parts"]["requests"][1], film[40:])
        missing = _post(client, "complete", {"token": ticket["token"]}).json()
        assert (missing["code"], missing["numbers"]) == ("parts_missing", [1])


def test_everything_else_of_the_settings_stays_and_everything_is_as_before_afterwards(users: ModuleType) -> None:
    def inspect(uploaded: InspectedObject) -> Reject:
        return Reject(f"{uploaded.name} is too dark")

    scans = {**PHOTOS, "inspect": inspect}
    with override_settings(PRESIGN={"photos": PHOTOS, "scans": scans}):
        with memory_uploads("photos") as photos, memory_uploads("scans") as uploads:
            token = uploads.token(PNG, content_type="image/png", name="dog.png")
            with pytest.raises(Exception, match=r"dog\.png is too dark"):
                get_presigner("scans").complete(token)
            assert photos.backend.objects == {}
            assert get_presigner("photos").backend is photos.backend
        assert {"photos": PHOTOS, "scans": scans} == settings.PRESIGN
    with memory_uploads("photos") as again:
        assert get_presigner("photos").backend is again.backend is not photos.backend


def test_an_alias_of_storages_keeps_its_location_so_a_file_field_takes_the_upload(
    storages: Storages, users: ModuleType
) -> None:
    storages("s3.S3Storage", bucket_name="my-bucket", region_name="eu-central-1", location="public/media")
    with memory_uploads("photos") as uploads:
        form = bound(users.alice, uploads.token(PNG, content_type="image/png", user=users.alice))
        assert form.is_valid(), form.errors
        stored = form.cleaned_data["photo"]
    photo = new_photo()
    assign_file(photo.file, stored)
    assert stored.key == f"public/media/{photo.file.name}"


def test_an_unknown_alias_and_wrong_settings_are_told() -> None:
    with pytest.raises(KeyError), memory_uploads("videos"):
        pass
    with (
        override_settings(PRESIGN={"photos": {**PHOTOS, "max_bytes": None}}),
        pytest.raises(ConfigurationError, match=r"\['max_bytes'\]: is missing"),
        memory_uploads("photos"),
    ):
        pass
