"""What a browser does with presign.django, for one user."""

from __future__ import annotations

import json
from typing import Any

import httpx
from django.test import Client

from tests.conftest import PNG


def signed_in(user: Any) -> Any:
    """Return a client with the session of ``user``, who is its ``user``."""
    client = Client(raise_request_exception=False)
    client.force_login(user)
    client.user = user
    return client


def csrf_client(user: Any) -> tuple[Any, str]:
    """Return a client that must send CSRF tokens, and its token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    token = "a" * 32
    client.cookies["csrftoken"] = token
    return client, token


def ticket_for(user: Any, *, alias: str = "photos", **members: Any) -> dict[str, Any]:
    """Return a ticket that the view issues to ``user``."""
    body = {"type": "image/png", "size": len(PNG), **members}
    answer = signed_in(user).post(f"/uploads/{alias}/upload", json.dumps(body), content_type="application/json")
    assert answer.status_code == 200, answer.content
    ticket: dict[str, Any] = answer.json()
    return ticket


def put_file(ticket: dict[str, Any], content: bytes) -> None:
    """Send a file to the storage as the ticket says."""
    answer = httpx.post(ticket["url"], data=ticket["fields"], files={"file": content})
    assert answer.status_code == 201, answer.text
