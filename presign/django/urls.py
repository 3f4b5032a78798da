"""The addresses, for ``path("uploads/", include("presign.django.urls"))``."""

from __future__ import annotations

from django.urls import path

from presign.django import views

app_name = "presign"
urlpatterns = [
    path("<slug:alias>/upload", views.upload, name="upload"),
    path("<slug:alias>/complete", views.complete, name="complete"),
    path("<slug:alias>/parts", views.parts, name="parts"),
    path("<slug:alias>/parts/list", views.parts_list, name="parts-list"),
    path("<slug:alias>/abort", views.abort, name="abort"),
]
