"""The form field and the widget: what they accept, what they show, and to whom."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.forms import formset_factory
from django.http import HttpRequest
from django.test import RequestFactory

from presign import InspectedObject, NotYet, Reject, StoredObject
from presign.django import UploadField, UploadWidget, bind_request
from presign.django.presigners import get_presigner
from tests.conftest import PNG, Store
from tests.django.conftest import Project
from tests.django.uploading import put_file, ticket_for

pytestmark = pytest.mark.usefixtures("project")


class PhotoForm(forms.Form):
    title = forms.CharField()
    photo = UploadField("photos")


class OptionalForm(forms.Form):
    photo = UploadField("photos", required=False)


def request_of(user: Any) -> HttpRequest:
    request = RequestFactory().post("/")
    request.user = user
    return request


def bound(user: Any, token: str, *, title: str = "a cat") -> PhotoForm:
    return bind_request(PhotoForm({"title": title, "photo": token}), request_of(user))


def uploaded(user: Any, content: bytes = PNG, **members: Any) -> str:
    ticket = ticket_for(user, **members)
    put_file(ticket, content)
    token: str = ticket["token"]
    return token


def test_a_valid_form_has_the_stored_object_and_the_same_one_when_it_is_sent_again(
    users: ModuleType, s3_reference: Store
) -> None:
    token = uploaded(users.alice)
    form = bound(users.alice, token)
    assert form.is_valid(), form.errors
    stored = form.cleaned_data["photo"]
    assert isinstance(stored, StoredObject)
    assert s3_reference.holds(stored.key)
    again = bound(users.alice, token)
    assert again.is_valid()
    assert again.cleaned_data["photo"].key == stored.key


def test_nobody_else_can_send_the_token(users: ModuleType, s3_reference: Store) -> None:
    token = uploaded(users.alice)
    for user in (users.mallory, AnonymousUser()):
        form = bound(user, token)
        assert not form.is_valid()
        assert form.errors.as_data()["photo"][0].code == "invalid_token"
    assert bound(users.alice, token).is_valid()


def test_a_form_that_does_not_know_its_user_is_an_error_of_the_program(users: ModuleType) -> None:
    token = uploaded(users.alice)
    with pytest.raises(ImproperlyConfigured, match="bind_request"):
        PhotoForm({"title": "a cat", "photo": token}).is_valid()


def test_what_was_not_uploaded_and_what_breaks_a_rule_are_errors_of_the_field(users: ModuleType) -> None:
    missing = bound(users.alice, ticket_for(users.alice)["token"])
    assert not missing.is_valid()
    assert missing.errors["photo"] == ["The file did not reach the storage. Choose it again."]
    no_picture = bound(users.alice, uploaded(users.alice, b"GIF89a" + bytes(len(PNG) - 6)))
    assert not no_picture.is_valid()
    assert no_picture.errors.as_data()["photo"][0].code == "rule_violated"


def test_a_large_file_with_missing_parts_and_one_whose_upload_has_ended_are_errors_of_the_field(
    users: ModuleType, project: Project
) -> None:
    large = {"max_bytes": 10 * 1024**2, "parts_from_bytes": 5 * 1024**2}
    project(**large)
    token = ticket_for(users.alice, size=6 * 1024**2)["token"]
    unfinished = bound(users.alice, token)
    assert not unfinished.is_valid()
    assert unfinished.errors["photo"] == ["The file has not reached the storage as a whole. Choose it again."]
    get_presigner("photos").abort(token, owner=str(users.alice.pk))
    aborted = bound(users.alice, token)
    assert not aborted.is_valid()
    assert aborted.errors["photo"] == ["The upload of the file was ended. Choose it again."]


def test_the_reason_of_a_rejection_is_shown_and_a_check_that_has_not_ended_keeps_the_token(
    users: ModuleType, project: Project
) -> None:
    project(inspect=lambda found: Reject("it is a <dog>") if found.name == "dog.png" else NotYet(retry_after=1))
    rejected = bound(users.alice, uploaded(users.alice, name="dog.png"))
    assert not rejected.is_valid()
    assert "The file was rejected: it is a &lt;dog&gt;" in rejected.as_p()
    waiting = uploaded(users.alice, name="cat.png")
    form = bound(users.alice, waiting)
    assert not form.is_valid()
    assert form.errors["photo"] == ["The file is still being checked. Send the form again in 1 second."]
    assert waiting in form.as_p()


def test_a_form_that_is_shown_again_keeps_the_upload_unless_it_was_refused(users: ModuleType) -> None:
    token = uploaded(users.alice)
    form = bound(users.alice, token, title="")
    assert not form.is_valid()
    page = form.as_p()
    assert f'value="{token}"' in page
    assert "A file is uploaded" in page
    refused = bound(users.mallory, token)
    assert not refused.is_valid()
    assert token not in refused.as_p()
    # The class outlives its forms, and must not collect their tokens.
    assert PhotoForm.base_fields["photo"].refused_tokens == set()


def test_an_optional_field_without_a_file_is_none_and_a_required_one_an_error(users: ModuleType) -> None:
    optional = bind_request(OptionalForm({"photo": " "}), request_of(users.alice))
    assert optional.is_valid()
    assert optional.cleaned_data["photo"] is None
    required = bound(users.alice, "")
    assert required.errors["photo"] == ["This field is required."]


def test_each_form_of_a_formset_accepts_the_uploads_of_its_user(users: ModuleType) -> None:
    data = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "0"}
    for number in range(2):
        data |= {f"form-{number}-title": "a cat", f"form-{number}-photo": uploaded(users.alice)}
    formset_class = formset_factory(PhotoForm)
    assert bind_request(formset_class(data), request_of(users.alice)).is_valid()
    assert not bind_request(formset_class(data), request_of(users.mallory)).is_valid()
    assert bind_request(formset_class, request_of(users.alice))(data).is_valid()


def test_a_class_that_is_bound_is_another_class(users: ModuleType) -> None:
    token = uploaded(users.alice)
    data = {"title": "a cat", "photo": token}
    of_alice, of_mallory = (bind_request(PhotoForm, request_of(user)) for user in (users.alice, users.mallory))
    assert of_alice(data).is_valid()
    assert not of_mallory(data).is_valid()
    with pytest.raises(ImproperlyConfigured):
        PhotoForm(data).is_valid()


def test_the_widget_posts_no_bytes_and_has_no_inline_code() -> None:
    page = str(PhotoForm()["photo"])
    assert page.count('name="photo"') == 1
    assert 'type="hidden" name="photo"' in page
    assert 'accept="image/png"' in page
    assert 'data-api="/uploads/photos"' in page
    assert 'data-csrf-header="X-Csrftoken"' in page or 'data-csrf-header="X-CSRFToken"' in page
    assert "style=" not in page
    assert "<script" not in page
    media = str(PhotoForm().media)
    assert media.count('<script type="module" src="/static/presign/upload_widget.js"></script>') == 1
    assert "/static/presign/upload_widget.css" in media


def test_media_of_several_widgets_have_the_script_once() -> None:
    class TwoForm(PhotoForm):
        other = UploadField("photos")

    assert str(TwoForm().media).count("upload_widget.js") == 1


def test_the_texts_of_the_widget_can_be_replaced_and_are_escaped() -> None:
    class GermanForm(forms.Form):
        photo = UploadField("photos", widget=UploadWidget(text={"cancel": '"Abbrechen"'}))

    assert 'data-text-cancel="&quot;Abbrechen&quot;"' in str(GermanForm()["photo"])


def test_inspect_sees_the_user(users: ModuleType, project: Project) -> None:
    seen: list[str | None] = []

    def inspect(found: InspectedObject) -> Reject:
        seen.append(found.owner)
        return Reject("no")

    project(inspect=inspect)
    assert not bound(users.alice, uploaded(users.alice)).is_valid()
    assert seen == [str(users.alice.pk)]
