"""Forms of Django's admin, for one object and inline: they accept the uploads of the request's user alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django import forms

from presign.django import UploadAdmin, UploadField
from tests.django.test_fields import request_of, uploaded

pytestmark = pytest.mark.usefixtures("project")


class UploadForm(forms.ModelForm):
    photo = UploadField("photos")


def test_the_form_of_an_object_and_its_inlines_know_the_user(users: ModuleType) -> None:
    from django.contrib import admin
    from django.contrib.auth.models import Group, User

    class GroupAdmin(UploadAdmin, admin.ModelAdmin):
        form = UploadForm
        fields = ("name", "photo")

    class MembershipInline(UploadAdmin, admin.TabularInline):
        model = User.groups.through
        form = UploadForm
        fields = ("group", "photo")

    token = uploaded(users.alice)
    group = Group.objects.create(name="people")
    prefix = "User_groups"
    inline = {f"{prefix}-TOTAL_FORMS": "1", f"{prefix}-INITIAL_FORMS": "0"}
    inline |= {f"{prefix}-0-group": str(group.pk), f"{prefix}-0-photo": token}
    outcomes: list[tuple[bool, bool]] = []
    for user in (users.alice, users.mallory):
        user.is_superuser = True
        request = request_of(user)
        form = GroupAdmin(Group, admin.site).get_form(request)({"name": "others", "photo": token})
        formset_class: Any = MembershipInline(User, admin.site).get_formset(request, users.alice)
        formset = formset_class(inline, instance=users.alice, prefix=prefix)
        outcomes.append((form.is_valid(), formset.is_valid()))
    group.delete()
    assert outcomes == [(True, True), (False, False)]


def test_who_changes_an_object_need_not_upload_again(users: ModuleType) -> None:
    from django.contrib import admin
    from django.contrib.auth.models import Group

    class GroupAdmin(UploadAdmin, admin.ModelAdmin):
        form = UploadForm
        fields = ("name", "photo")

    users.alice.is_superuser = True
    request = request_of(users.alice)
    model_admin = GroupAdmin(Group, admin.site)
    group = Group(name="people")
    assert model_admin.get_form(request, group, change=True)({"name": "people"}).is_valid()
    assert not model_admin.get_form(request)({"name": "people"}).is_valid()
