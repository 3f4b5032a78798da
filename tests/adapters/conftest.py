"""What the tests of single adapters share."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from presign import Presigner
from tests.conftest import PNG, Store


@pytest.fixture(scope="module")
def presigner(s3_reference: Store) -> Presigner:
    return s3_reference.presigner(content_types={"image/png"})


def store_png(ticket: dict[str, Any]) -> str:
    """Upload a picture with a ticket, and return the ticket's token."""
    assert httpx.post(ticket["url"], data=ticket["fields"], files={"file": PNG}).status_code == 201
    token: str = ticket["token"]
    return token
