"""Serve the Django example with a strict content security policy: ``python -m tests.django.serve_example PORT``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

from emulators.ports import HOST
from tests.django.example_process import EXAMPLE

os.environ["DJANGO_SETTINGS_MODULE"] = "photos.settings"
sys.path.insert(0, str(EXAMPLE))
application = get_wsgi_application()

Start = Callable[[str, list[tuple[str, str]]], Any]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def with_policy(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        return start_response(status, [*headers, ("Content-Security-Policy", os.environ["POLICY"])])

    answer: Iterable[bytes] = StaticFilesHandler(application)(environ, start)
    return answer


if __name__ == "__main__":
    with make_server(HOST, int(sys.argv[1]), with_policy, server_class=Server) as server:
        server.serve_forever()
