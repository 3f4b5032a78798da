"""``python -m demo_server.serve_page``: the page's server, as the environment describes it; the demo starts it."""

from __future__ import annotations

import uvicorn

from demo_server.settings import read_settings


def main() -> None:
    """Serve the page until the process is told to stop."""
    settings = read_settings()
    uvicorn.run(
        "demo_server.page:create_page",
        factory=True,
        host=settings.host,
        port=settings.page_port,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
