"""``python -m demo_server.serve_api``: the API's server, as the environment describes it; the demo starts it."""

from __future__ import annotations

import asyncio
import logging

import uvicorn

from demo_server.settings import read_settings

SHUTDOWN_SECONDS = 3
"""How long requests that are open when the server is told to stop may go on."""


def main() -> None:
    """Serve the API until the process is told to stop."""
    settings = read_settings()
    uvicorn.run(
        "demo_server.app:create_app",
        factory=True,
        http="presign.uvicorn:JoinedWritesProtocol",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        log_config=_LOGGING,
    )


class WithoutCancelledRequests(logging.Filter):
    """Leaves out the tracebacks of requests that were open when the server stopped; uvicorn logs their number."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is logged."""
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "generic": {"format": "%(asctime)s %(levelname)s %(message)s"},
        # The path alone: a token is in a body, and a signature in an answer.
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": "%(asctime)s %(status_code)s %(request_line)s",
            "use_colors": False,
        },
    },
    "filters": {"without_cancelled_requests": {"()": WithoutCancelledRequests}},
    "handlers": {
        "console": {
            "formatter": "generic",
            "filters": ["without_cancelled_requests"],
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stderr",
        },
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "presign": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "demo_server": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}

if __name__ == "__main__":
    main()
