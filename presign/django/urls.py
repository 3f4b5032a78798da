"""The addresses, for ``path("uploads/", include("presign.django.urls"))``."""

from __future__ import annotations

from django.urls import path

from presign.django import views

app_name = "presign"
urlpatterns = [
    path("<slug:alias>/upload", views.upload, name="upload"),
    path("<slug:alias>/complete", views.complete, name="complete"),
    path("<slug:alias>/parts", views.sign_parts, name="sign_parts"),
    path("<slug:alias>/parts/list", views.list_parts, name="list_parts"),
    path("<slug:alias>/abort", views.abort, name="abort"),
    path("<slug:alias>/s3/<path:name>", views.companion, name="companion"),
]
