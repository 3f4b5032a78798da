"""The command ``presign doctor``: examine a storage, and say what is wrong, what it means and what to do."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType

import click
import orjson

from presign.backends.registry import open_backend
from presign.doctor.durations import read_duration
from presign.doctor.examination import DEFAULT_CONTENT_TYPE, examine
from presign.doctor.report import Report
from presign.errors import PresignError
from presign.policy import DEFAULT_PENDING_PREFIX

_CANNOT_RUN = 2
_EXIT_OF_SIGNALS = 128


@click.command(short_help="Find out what is wrong with a storage.")
@click.argument("url")
@click.option(
    "--origin",
    help="The origin of the page that uploads, such as https://app.example.com. Without it, CORS is not checked.",
)
@click.option(
    "--pending-prefix",
    default=DEFAULT_PENDING_PREFIX,
    show_default=True,
    help="The policy's pending_prefix: where uploads wait until they are verified.",
)
@click.option("--no-pending", is_flag=True, help="The policy has no pending_prefix: uploads go to their final key.")
@click.option(
    "--type",
    "content_types",
    metavar="TYPE",
    multiple=True,
    default=(DEFAULT_CONTENT_TYPE,),
    show_default=True,
    help="A media type that the policy allows; repeatable.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    help="The policy's max_bytes. If no file of this size comes in parts, parts are not tested.",
)
@click.option(
    "--max-expires-in",
    callback=read_duration,
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="The policy's max_expires_in: the longest lifetime of a ticket.",
)
@click.option(
    "--create-only/--no-create-only",
    default=None,
    help="The policy's create_only. On S3 and Google Cloud Storage, this decides between a PUT and a POST form; by "
    "default, both are tested.",
)
@click.option(
    "--metadata",
    "metadata_names",
    metavar="NAME",
    multiple=True,
    help="A name in the policy's metadata, whose header the storage's CORS rules must allow; repeatable.",
)
@click.option(
    "--public/--private",
    "public_read",
    default=None,
    help="Whether everybody should be able to read published objects; by default, either is right.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option(
    "--write",
    "write_to",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to FILE which rules the storage has shown to enforce. Give it to the backend: learned=FILE.",
)
def doctor(
    url: str,
    origin: str | None,
    pending_prefix: str,
    no_pending: bool,
    content_types: tuple[str, ...],
    max_bytes: int | None,
    max_expires_in: timedelta,
    create_only: bool | None,
    metadata_names: tuple[str, ...],
    public_read: bool | None,
    as_json: bool,
    write_to: Path | None,
) -> None:
    """Send good and tampered uploads to a storage, and say what is wrong with it.

    URL names the bucket or container and the prefix of published objects, as in the application. Everything is stored
    below .presign-doctor/ under the prefixes, and deleted at the end.

    \b
      presign doctor "s3://my-bucket/public/?region=eu-central-1" --origin https://app.example.com
      presign doctor "azblob://myaccount/public/?pending_container=pending" --origin https://app.example.com
      presign doctor gs://my-bucket/public/ --origin https://app.example.com

    The exit code is 0 if all is well, 1 with a warning, and 2 with a failure, or if the command or a setting is wrong.
    What could not be checked changes no exit code.
    """

    def run_examination() -> Report:
        backend, prefix = open_backend(url)
        return examine(
            backend,
            prefix=prefix,
            pending_prefix=None if no_pending else pending_prefix,
            origin=origin,
            content_types=content_types,
            max_bytes=max_bytes,
            max_expires_in=max_expires_in,
            create_only=create_only,
            metadata=dict.fromkeys(metadata_names, "doctor"),
            public_read=public_read,
        )

    raise click.exceptions.Exit(print_reports([run_examination], as_json=as_json, write_to=write_to))


def print_reports(
    examinations: Sequence[Callable[[], Report]],
    *,
    as_json: bool,
    write_to: Path | None = None,
    echo: Callable[[str], object] = click.echo,
) -> int:
    """Run each examination, print its report, and return the highest exit code.

    SIGTERM and SIGHUP end an examination as Ctrl-C does: everything that it stored is deleted. ``write_to`` gets what
    was learned from the last one.
    """
    exit_code = 0
    for run_examination in examinations:
        try:
            with _ending_on_signals():
                report = run_examination()
            if write_to is not None:
                report.learned.write(write_to)
        except PresignError as error:
            click.echo(f"Error: {error}", err=True)
            return _CANNOT_RUN
        except OSError as error:
            click.echo(f"Error: {write_to} cannot be written ({type(error).__name__})", err=True)
            return _CANNOT_RUN
        echo(orjson.dumps(report.to_dict()).decode() if as_json else report.to_text())
        exit_code = max(exit_code, report.exit_code)
    return exit_code


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that is closed, end the block as an exception does."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_EXIT_OF_SIGNALS + number)

    earlier = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            # Windows has no SIGHUP, and nohup lets a program ignore it.
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                earlier[number] = signal.signal(number, end)
    except ValueError:
        # Only the main thread of a program may do this.
        yield
        return
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
