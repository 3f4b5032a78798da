"""The system checks, the setting PRESIGN and the secret."""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

import pytest
from django import forms
from django.conf import settings
from django.core.checks import run_checks
from django.test.utils import override_settings

from presign import ConfigurationError, InvalidToken, NotUploaded, UploadRequest
from presign.django import UploadField, get_presigner
from presign.django.fields import fields_in_use
from tests.conftest import Store
from tests.django.conftest import Project, described
from tests.django.uploading import ticket_for


def _found(*, deploy: bool = False) -> dict[str, str]:
    """Return the messages of presign's checks by id."""
    messages = run_checks(tags=["presign"], include_deployment_checks=deploy)
    return {str(message.id): message.msg for message in messages}


@pytest.fixture(autouse=True)
def _no_fields_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in list(fields_in_use):
        if field.alias not in {"photos"}:
            fields_in_use.discard(field)


def test_good_settings_have_no_messages_and_no_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert _found() == {}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"authorize": None}, "PRESIGN['photos']['authorize']: is missing"),
        ({"max_bytes": None}, "PRESIGN['photos']['max_bytes']: is missing"),
        ({"content_types": ["image"]}, "PRESIGN['photos']['content_types']"),
        ({"maxbytes": 3}, "PRESIGN['photos']['maxbytes']: is not known"),
        ({"authorize": "tests.django.nowhere.may"}, "PRESIGN['photos']['authorize']: cannot be imported"),
        ({"authorize": True}, "PRESIGN['photos']['authorize']: must be a function"),
        ({"authorize": lambda: True}, "PRESIGN['photos']['authorize']: is called with one argument, the request"),
        ({"on_complete": lambda: None}, "PRESIGN['photos']['on_complete']: is called with one argument"),
        ({"inspect": "json.decoder"}, "PRESIGN['photos']['inspect']: must be a function"),
        ({"backend": None}, "PRESIGN['photos']['backend']: must be set"),
        ({"storage": "default"}, "PRESIGN['photos']['backend']: must be set, or 'storage' instead, and not both"),
        ({"backend": "my-bucket"}, "PRESIGN['photos']['backend']: cannot be imported"),
        ({"backend": "ftp://bucket/"}, "the address must begin with one of"),
        ({"secret": "short"}, "secret must have at least"),
        ({"companion": "yes"}, "PRESIGN['photos']['companion']: must be True or False"),
        *[
            ({"max_files": wrong}, "PRESIGN['photos']['max_files']: must be a whole number of at least 1")
            for wrong in (0, -1, 1.5, True, "10")
        ],
        ({"completion_window": 3}, "PRESIGN['photos']['completion_window']: must be a timedelta"),
        ({"prefix": "photos"}, "PRESIGN['photos']['prefix']"),
    ],
)
def test_wrong_settings_are_e001_and_the_member_is_named(
    project: Project, members: dict[str, Any], reason: str
) -> None:
    project(**members)
    assert reason in _found()["presign.E001"]


def test_a_setting_that_is_no_dictionary_is_e001() -> None:
    values: list[Any] = ["photos", ["photos"], {"photos": "s3://bucket/"}, {3: {}}]
    for value in values:
        with override_settings(PRESIGN=value):
            assert "presign.E001" in _found()


def test_a_field_with_an_unknown_alias_and_an_unknown_storage_are_e002(project: Project) -> None:
    class VideoForm(forms.Form):
        video = UploadField("videos")

    assert "UploadField('videos')" in _found()["presign.E002"]
    del VideoForm
    fields_in_use.clear()
    project(backend=None, storage="nowhere")
    assert "STORAGES has no alias 'nowhere'" in _found()["presign.E002"]


def test_a_storage_that_browsers_cannot_upload_to_is_e001(project: Project) -> None:
    project(backend=None, storage="default")
    assert "is a FileSystemStorage" in _found()["presign.E001"]


def test_a_backend_that_cannot_keep_the_policy_is_found_by_the_check_for_deployment(project: Project) -> None:
    project(public_read=True, prefix="pending/", pending_prefix="public/pending/")
    assert _found() == {}
    assert "neither may begin with the other" in _found(deploy=True)["presign.E001"]


def test_missing_addresses_and_a_public_place_for_unverified_uploads_are_warnings(project: Project) -> None:
    project(pending_prefix=None)
    assert set(_found()) == {"presign.W002"}
    project()
    with override_settings(ROOT_URLCONF="tests.django.no_urls"):
        assert "presign.W001" in _found()


def test_a_token_is_valid_while_its_key_is_among_the_fallbacks(users: ModuleType, project: Project) -> None:
    old = settings.SECRET_KEY
    token = ticket_for(users.alice)["token"]
    owner = str(users.alice.pk)
    for fallbacks, error in (([old], NotUploaded), ([], InvalidToken)):
        keys = override_settings(SECRET_KEY="another secret of the project", SECRET_KEY_FALLBACKS=fallbacks)
        with keys, pytest.raises(error):
            get_presigner("photos").complete(token, owner=owner)


def test_each_alias_has_a_secret_of_its_own_and_a_given_one_is_used(
    users: ModuleType, s3_reference: Store, project: Project
) -> None:
    token = ticket_for(users.alice)["token"]
    owner = str(users.alice.pk)
    two = override_settings(PRESIGN={"photos": described(s3_reference), "other": described(s3_reference)})
    with two, pytest.raises(InvalidToken):
        get_presigner("other").complete(token, owner=owner)
    project(secret="another secret of these uploads")
    with pytest.raises(InvalidToken):
        get_presigner("photos").complete(token, owner=owner)


def test_the_prefix_is_added_to_that_of_the_address(project: Project) -> None:
    project(prefix="avatars/")
    presigner = get_presigner("photos")
    assert get_presigner("photos") is presigner
    assert presigner.issue(UploadRequest(content_type="image/png")).key.startswith("public/avatars/")


def test_a_function_may_make_the_backend(project: Project, s3_reference: Store) -> None:
    project(backend=s3_reference.backend, prefix="avatars/")
    assert _found(deploy=True) == {}
    assert get_presigner("photos").issue(UploadRequest(content_type="image/png")).key.startswith("avatars/")


def test_an_unknown_alias_is_a_key_error_and_wrong_settings_are_a_configuration_error(project: Project) -> None:
    with pytest.raises(KeyError):
        get_presigner("videos")
    project(max_bytes=0)
    with pytest.raises(ConfigurationError, match="max_bytes"):
        get_presigner("photos")
