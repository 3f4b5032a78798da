"""The addresses of the project that the tests use."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("uploads/", include("presign.django.urls"))]
