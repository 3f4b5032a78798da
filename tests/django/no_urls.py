"""The addresses of a project that forgot those of presign."""

from __future__ import annotations

from typing import Any

urlpatterns: list[Any] = []
