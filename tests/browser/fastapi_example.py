"""The FastAPI example on SeaweedFS, in the test's process; a test adds routes for its own pages."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from fastapi import FastAPI
from playwright.sync_api import Page

from tests.conftest import Store

SETTINGS = {"PRESIGN_SECRET": "m2Jw8rVt5qYx1Lk7Zc0Bn4Hs", "SESSION_SECRET": "Qe7Tb3Xn9Wd1Rf6Uy8Ai2Op5"}
LOGIN = """async (members) => (await fetch("/login", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(members),
})).status"""


@contextmanager
def fastapi_example(store: Store, directory: Path) -> Iterator[FastAPI]:
    """Yield the example's application, with its settings in the environment, and its database in ``directory``."""
    settings = {**store.environment, **SETTINGS, "DATABASE": str(directory / "uploads.db")}
    with mock.patch.dict(os.environ, settings), mock.patch.dict(sys.modules):
        # The module reads its settings when it is imported.
        sys.modules.pop("examples.fastapi_app", None)
        app: FastAPI = importlib.import_module("examples.fastapi_app").app
        yield app


def sign_in(page: Page, password: str = "wonderland") -> int:
    """Sign in from a page of the example's origin, and return the answer's status."""
    status: int = page.evaluate(LOGIN, {"user": "alice", "password": password})
    return status
