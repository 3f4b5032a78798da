"""The command ``presign upload``: options, headers, progress on a terminal, and exit codes.

The standard output has the result and nothing else.
"""

from __future__ import annotations

import mimetypes
import os
import re
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from presign.uploading.errors import UploadFailed, printable
from presign.uploading.upload import Upload

HEADERS_VARIABLE = "PRESIGN_HEADERS"

_FAILED = 1
_INTERRUPTED = 130
_DEFAULT_PARALLEL = 4
_MAX_PARALLEL = 16
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\xa0-\xff\t]*?)[ \t]*")
_RESERVED = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
)
_GO_ON = "To go on, run the same command again; to end the upload, run it with --abort."


@click.command(short_help="Upload a file as a browser does.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--api", metavar="URL", required=True, envvar="PRESIGN_API", help="The server; it has /upload below it.")
@click.option(
    "--header",
    "headers",
    metavar='"NAME: VALUE"',
    multiple=True,
    help="Send this header to the server, never to the storage; repeatable. Other users of this machine can see "
    f"options, so give secrets in {HEADERS_VARIABLE} (one header a line) or in a file.",
)
@click.option("--header-file", type=click.File("r"), help="Send the headers in this file, one a line.")
@click.option("--type", "content_type", metavar="TYPE", help="The media type; by default that of the file's name.")
@click.option("--name", help="The name that the server gets; by default that of the file.")
@click.option(
    "--sha256", "hash_file", is_flag=True, help="Let the server allow only the bytes with this file's SHA-256."
)
@click.option(
    "--digest",
    "hash_parts",
    is_flag=True,
    help="The same, by the digests of the parts if the file comes in parts. The file is read and hashed before it is "
    "sent, a second or two for each GiB.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, _MAX_PARALLEL),
    default=_DEFAULT_PARALLEL,
    show_default=True,
    help="How many parts of a large file to send at a time.",
)
@click.option(
    "--state",
    "state_folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: Path(click.get_app_dir("presign")) / "uploads",
    help="Where to keep unfinished uploads; by default a folder of yours. They grant access, so keep it private.",
)
@click.option("--abort", is_flag=True, help="End the unfinished upload of this file.")
@click.option(
    "--allow-http",
    is_flag=True,
    help="Permit servers without TLS that are not on this machine, and servers elsewhere that name a storage on it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the stored object as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress and no notes.")
def upload(
    path: Path,
    api: str,
    headers: tuple[str, ...],
    header_file: Any,
    content_type: str | None,
    name: str | None,
    hash_file: bool,
    hash_parts: bool,
    parallel: int,
    state_folder: Path,
    abort: bool,
    allow_http: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Upload FILE with a ticket of the application's server, and print its address, or its key if it has none.

    \b
      presign upload film.mp4 --api https://app.example.com/files

    A large file is sent in parts. If the command is interrupted, the same command goes on where it ended, until the
    upload expires (7 days by default). A file that changed meanwhile is uploaded anew.

    The exit code is 0 if the file is stored and verified, 1 if it was refused or the upload failed, 2 if the command is
    wrong, and 130 if it was interrupted.
    """
    if not abort:
        _check_file(path)
    if hash_file and hash_parts:
        raise click.UsageError("give one of --sha256 and --digest")
    if name is None:
        # A name that is no text in this system's encoding is none in JSON.
        name = path.name.encode("utf-8", "replace").decode()
    shows_progress = not quiet and sys.stderr.isatty()
    try:
        running = Upload(
            path,
            api=api,
            headers=_read_headers(headers, header_file),
            content_type=content_type or mimetypes.guess_type(name)[0] or "application/octet-stream",
            name=name,
            hash_file=hash_file,
            hash_parts=hash_parts,
            parallel=parallel,
            allow_http=allow_http,
            state_folder=state_folder,
            # A note must not stand behind the bar, in the same line.
            on_note=lambda note: None if quiet else click.echo(f"\n{note}" if shows_progress else note, err=True),
        )
    except UploadFailed as error:
        raise click.BadParameter(str(error), param_hint="--api") from None
    if abort:
        _end(running, quiet=quiet)
        return
    stored = _run(running, path if shows_progress else None)
    result = stored.get("object_url") or stored.get("key")
    click.echo(orjson.dumps(stored) if as_json else printable(str(result)))


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror}"
    else:
        if stat.S_ISREG(mode):
            return
        reason = (
            "this is a folder; upload each of its files"
            if stat.S_ISDIR(mode)
            else "this is no file on a disk, which could be read again; save it in one, and upload that"
        )
    raise click.BadParameter(reason, param_hint="FILE")


def _run(running: Upload, shown_path: Path | None) -> dict[str, Any]:
    try:
        with ExitStack() as stack:
            bars = _Bars(shown_path, stack)
            return running.run(partial(bars.show, "Uploading"), partial(bars.show, "Hashing"))
    except UploadFailed as error:
        click.echo(f"Error: {error}", err=True)
        _say_how_to_go_on(running)
        raise click.exceptions.Exit(_FAILED) from None
    except KeyboardInterrupt:
        click.echo("Interrupted", err=True)
        _say_how_to_go_on(running)
        raise click.exceptions.Exit(_INTERRUPTED) from None


def _end(running: Upload, *, quiet: bool) -> None:
    try:
        running.abort()
    except UploadFailed as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(_FAILED) from None
    except KeyboardInterrupt:
        click.echo("Interrupted: the upload may not have ended. Run the same command again.", err=True)
        raise click.exceptions.Exit(_INTERRUPTED) from None
    if not quiet:
        click.echo("The upload is ended", err=True)


def _say_how_to_go_on(running: Upload) -> None:
    try:
        can_go_on = running.can_go_on
    except UploadFailed:
        return
    if can_go_on:
        click.echo(_GO_ON, err=True)


def _read_headers(given: Sequence[str], file: Any) -> dict[str, str]:
    """Return the headers of the environment, the file and the options; a later one replaces an earlier one."""
    lines = [(HEADERS_VARIABLE, line) for line in os.environ.get(HEADERS_VARIABLE, "").splitlines()]
    if file is not None:
        lines += [("--header-file", line) for line in file.read().splitlines()]
    lines = [(source, line) for source, line in lines if line.strip()]
    lines += [("--header", line) for line in given]
    headers: dict[str, str] = {}
    for source, line in lines:
        found = _HEADER.fullmatch(line)
        # The header may be a secret, so no message repeats it.
        if found is None:
            raise click.BadParameter('a header is not of the form "Name: value"', param_hint=source)
        name, value = found[1].lower(), found[2]
        if name in _RESERVED:
            raise click.BadParameter(f"the header {name} is one of the command's own", param_hint=source)
        headers[name] = value
    return headers


class _Bars:
    """Bars on the terminal, one after another: how many bytes of the file at ``path`` were hashed, and how many sent.

    Without a path, nothing is shown.
    """

    def __init__(self, path: Path | None, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._shown: str | None = None
        self._bar: Any = None

    def show(self, doing: str, done_bytes: int) -> None:
        """Show ``done_bytes`` on the bar of what the command is doing."""
        if self._path is None:
            return
        if doing != self._shown:
            self._stack.close()
            label = f"{doing} {printable(self._path.name)}"
            self._bar = self._stack.enter_context(
                click.progressbar(length=self._path.stat().st_size, label=label, file=sys.stderr)
            )
            self._shown = doing
        # A request that is repeated begins at 0 again.
        self._bar.update(done_bytes - self._bar.pos)
