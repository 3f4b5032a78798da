"""The server of ``bench.parts`` and ``bench.many``: presign's API, and the page beside it.

The environment has the demo's settings, and ``PAGES``, the folder of the page's files.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from demo_server.app import allow_everybody, build_presigner
from demo_server.settings import read_settings
from presign.asgi import create_app as create_api

API = "/files"


def create_app() -> Starlette:
    """Return the application."""
    api = create_api(build_presigner(read_settings()), authorize=allow_everybody, companion=True)
    return Starlette(routes=[Mount(API, api), Mount("/", StaticFiles(directory=os.environ["PAGES"]))])
