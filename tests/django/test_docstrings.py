"""The examples in the docstrings of presign.django are run."""

from __future__ import annotations

import re
import sys
import unittest
from types import ModuleType, SimpleNamespace

import pytest
from django import forms
from django.http import HttpRequest, HttpResponse
from django.test import TestCase
from django.test.utils import override_settings
from django.urls import path

from presign.django import UploadAdmin, UploadField, bind_request
from presign.django.checks import check_settings
from presign.django.configuration import read_settings
from presign.django.testing import memory_uploads
from tests.conftest import PNG, Store
from tests.django.test_fields import request_of, uploaded
from tests.docstring_examples import PACKAGE, find_examples, run

EXAMPLES = {name: code for name, code in find_examples().items() if name.startswith("presign.django")}
SETTINGS = "presign.django.configuration"
FIELD = "presign.django.fields.UploadField"
ADMIN = "presign.django.model_admin.UploadAdmin"
TESTING = "presign.django.testing"


def test_these_are_all_examples() -> None:
    assert EXAMPLES.keys() == {SETTINGS, FIELD, ADMIN, TESTING}


def test_the_example_of_the_settings_passes_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = ModuleType("shop.uploads")
    uploads.may_upload = lambda request: True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.uploads", uploads)
    with override_settings(PRESIGN=run(EXAMPLES[SETTINGS])["PRESIGN"]):
        assert check_settings(None) == []
        assert read_settings("photos").policy_under("photos/").max_bytes == 10_000_000


def test_the_settings_of_the_page_about_django_pass_the_checks() -> None:
    page = (PACKAGE.parent / "docs" / "django.md").read_text()
    (example,) = re.findall(r"<!-- example: django settings -->\n```python\n(.*?)```", page, re.DOTALL)
    with override_settings(PRESIGN=run(example)["PRESIGN"]):
        assert check_settings(None) == []


@pytest.mark.usefixtures("project")
def test_the_example_of_the_field_records_the_upload(users: ModuleType, s3_reference: Store) -> None:
    recorded: list[str] = []
    photos = SimpleNamespace(objects=SimpleNamespace(create=lambda *, key: recorded.append(key)))
    request = request_of(users.alice)
    request.POST = {"photo": uploaded(users.alice)}
    given = {"forms": forms, "UploadField": UploadField, "bind_request": bind_request}
    run(EXAMPLES[FIELD], request=request, Photo=photos, **given)
    (key,) = recorded
    assert s3_reference.holds(key)


@pytest.mark.usefixtures("project")
def test_the_example_of_the_admin_accepts_the_upload_of_its_user_alone(users: ModuleType) -> None:
    from django.contrib import admin
    from django.contrib.auth.models import Permission

    class PhotoForm(forms.ModelForm):
        photo = UploadField("photos")
        Meta = type("Meta", (), {"model": Permission, "fields": []})

    try:
        run(EXAMPLES[ADMIN], admin=admin, Photo=Permission, UploadAdmin=UploadAdmin, PhotoForm=PhotoForm)
        model_admin = admin.site._registry[Permission]
        token = uploaded(users.alice)
        outcomes = [
            model_admin.get_form(request_of(user))({"photo": token}).is_valid() for user in (users.mallory, users.alice)
        ]
        assert outcomes == [False, True]
    finally:
        admin.site.unregister(Permission)


@pytest.mark.usefixtures("project", "users")
def test_the_example_of_a_projects_own_test_passes() -> None:
    from django.contrib.auth.models import User

    recorded: list[str] = []

    class PhotoForm(forms.Form):
        title = forms.CharField()
        photo = UploadField("photos")

    def add_photo(request: HttpRequest) -> HttpResponse:
        form = bind_request(PhotoForm(request.POST), request)
        assert form.is_valid(), form.errors
        recorded.append(form.cleaned_data["photo"].key)
        return HttpResponse()

    addresses = ModuleType("addresses")
    addresses.urlpatterns = [path("photos/", add_photo)]  # type: ignore[attr-defined]
    photos = SimpleNamespace(objects=SimpleNamespace(get=lambda: SimpleNamespace(key=recorded[-1])))
    given = {"TestCase": TestCase, "User": User, "Photo": photos, "picture": PNG, "memory_uploads": memory_uploads}
    User.objects.all().delete()
    with override_settings(ROOT_URLCONF=addresses):
        result = unittest.defaultTestLoader.loadTestsFromTestCase(run(EXAMPLES[TESTING], **given)["PhotoTests"]).run(
            unittest.TestResult()
        )
    assert (result.testsRun, result.failures, result.errors) == (1, [], [])
    assert recorded
