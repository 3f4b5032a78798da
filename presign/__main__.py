"""``python -m presign`` and the command ``presign``; see presign.cli."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit; without click or urllib3, exit with a sentence that names the extra to install."""
    try:
        from presign.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"click", "urllib3"}:
            raise
        sys.stderr.write(f'The command line of presign needs {error.name}: pip install "presign-uploads[cli]"\n')
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
