"""The command line: ``presign doctor``, ``presign sweep``, ``presign ticket`` and ``presign upload``.

Exit codes of ``sweep``: 0 all is well; 1 some objects could not be deleted; 2 the command or a setting is wrong, or the
storage is not available. Those of ``ticket`` are 0 and 2.
"""

from __future__ import annotations

import secrets
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import orjson

from presign.backends import open_backend
from presign.doctor.command import doctor
from presign.doctor.durations import UNITS, read_duration
from presign.errors import PresignError
from presign.messages import Ticket, UploadRequest
from presign.policy import DEFAULT_MAX_EXPIRES_IN, DEFAULT_PENDING_PREFIX, UploadPolicy
from presign.presigner import COMPLETION_WINDOW, Presigner
from presign.sweeping import SweepResult
from presign.sweeping import sweep as sweep_store
from presign.uploading.command import upload

DEFAULT_OLDER_THAN = "26h"
DEFAULT_PARTS_OLDER_THAN = "8d"

_SOME_FAILED = 1
_CANNOT_RUN = 2
_COMPLETABLE_FOR = DEFAULT_MAX_EXPIRES_IN + COMPLETION_WINDOW


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="presign-uploads", message="%(package)s %(version)s")
def main() -> None:
    """Examine or sweep the storage where presign stores uploads, sign a ticket, or upload a file as a browser does.

    The storage's credentials are those that the provider's own SDK finds, for example in AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.
    """


main.add_command(doctor)
main.add_command(upload)


@main.command(short_help="Delete what nobody completed.")
@click.argument("url")
@click.option(
    "--older-than",
    callback=read_duration,
    metavar="DURATION",
    default=DEFAULT_OLDER_THAN,
    show_default=True,
    help="Delete what was stored longer ago than this. An upload can be completed for the longest lifetime of a ticket "
    "(1h by default) plus the completion window (24h by default); choose a longer time.",
)
@click.option(
    "--parts-older-than",
    callback=read_duration,
    metavar="DURATION",
    default=DEFAULT_PARTS_OLDER_THAN,
    show_default=True,
    help="End uploads in parts that began longer ago than this. Such an upload can be resumed for up to 7 days.",
)
@click.option("--dry-run", is_flag=True, help="Delete nothing; count what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def sweep(url: str, older_than: timedelta, parts_older_than: timedelta, dry_run: bool, as_json: bool) -> None:
    """Delete the pending uploads that nobody completed, and end the uploads in parts that nobody finished.

    URL names the bucket or container and the pending prefix. Everything under this prefix that is old enough is
    deleted, so it must never be the prefix of published objects.

    \b
      presign sweep "s3://my-bucket/pending/?region=eu-central-1"
      presign sweep azblob://myaccount/my-pending-container/pending/
      presign sweep gs://my-bucket/pending/

    The exit code is 0 if all went well, 1 if some objects could not be deleted, and 2 if the command or a setting is
    wrong, or the storage is not available.
    """
    if older_than < _COMPLETABLE_FOR:
        click.echo(
            "Warning: with presign's default settings an upload can be completed for up to "
            f"{_COMPLETABLE_FOR // UNITS['h']}h, and this sweep deletes such uploads earlier",
            err=True,
        )
    try:
        backend, prefix = open_backend(url)
        # A listing that fails would not explain wrong settings as well.
        backend.check()
        result = sweep_store(
            backend.pending,
            prefix=prefix,
            older_than=older_than,
            now=datetime.now(timezone.utc),
            dry_run=dry_run,
            parts=backend.parts,
            parts_older_than=parts_older_than,
        )
    except PresignError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(_CANNOT_RUN) from None
    click.echo(_as_json(result, dry_run) if as_json else _as_sentence(result, dry_run))
    if result.parts_failure is not None:
        click.echo(
            f"Warning: unfinished uploads in parts were not ended: {result.parts_failure}; the credentials need the "
            "right to list and abort them, or a lifecycle rule must end them",
            err=True,
        )
    for key in result.failed:
        # A key may hold characters that change what a terminal shows.
        click.echo(f"Could not delete {key!a}", err=True)
    if result.failed:
        raise click.exceptions.Exit(_SOME_FAILED)


@main.command(short_help="Sign one ticket, to try a storage by hand.")
@click.argument("url")
@click.option("--type", "content_type", metavar="TYPE", required=True, help="The media type that may be uploaded.")
@click.option("--size", type=click.IntRange(min=0), help="The exact size in bytes; by default that of --curl's file.")
@click.option("--name", help="The file's name, which downloads get.")
@click.option(
    "--pending-prefix", default=DEFAULT_PENDING_PREFIX, show_default=True, help="The prefix of the upload's own key."
)
@click.option("--no-pending", is_flag=True, help="Let the upload go to its final key.")
@click.option(
    "--expires-in",
    callback=read_duration,
    metavar="DURATION",
    default="5m",
    show_default=True,
    help="How long the ticket is valid.",
)
@click.option(
    "--curl",
    "path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Print the command that uploads FILE with curl, in the place of the ticket.",
)
def ticket(
    url: str,
    content_type: str,
    size: int | None,
    name: str | None,
    pending_prefix: str,
    no_pending: bool,
    expires_in: timedelta,
    path: Path | None,
) -> None:
    """Sign a ticket as a server does, and print it as JSON.

    URL names the bucket or container and the prefix of published objects, as in the application. Whoever has the
    ticket can upload one object until it expires. Nothing completes this upload: it stays where it is until
    `presign sweep` or a lifecycle rule deletes it.

    \b
      presign ticket "s3://my-bucket/public/?region=eu-central-1" --type image/png --size 48213
      presign ticket gs://my-bucket/public/ --type image/png --curl cat.png

    The exit code is 2 if the command or a setting is wrong, or no credentials are found.
    """
    try:
        backend, prefix = open_backend(url)
        policy = UploadPolicy(
            content_types={content_type},
            max_bytes=backend.max_upload_bytes,
            # The file comes in one request: an upload in parts would begin at the storage, and not end.
            parts_from_bytes=backend.max_upload_bytes + 1,
            prefix=prefix,
            pending_prefix=None if no_pending else pending_prefix,
            expires_in=expires_in,
            max_expires_in=max(expires_in, DEFAULT_MAX_EXPIRES_IN),
            content_disposition=None if name is None else "attachment",
            allow_active_content=True,
        )
        # The token that this secret signs is not printed.
        presigner = Presigner(backend=backend, policy=policy, secret=secrets.token_bytes(32))
        exact_bytes = path.stat().st_size if size is None and path is not None else size
        issued = presigner.issue(UploadRequest(content_type=content_type, size=exact_bytes, name=name))
    except PresignError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(_CANNOT_RUN) from None
    if path is not None:
        click.echo(_curl_command(issued, path))
        return
    members = orjson.loads(issued.to_json())
    del members["token"]
    click.echo(orjson.dumps(members, option=orjson.OPT_INDENT_2))


def _curl_command(issued: Ticket, path: Path) -> str:
    """Return the command, for a POSIX shell, that sends a file exactly as the ticket says."""
    command = ["curl", "--fail-with-body", "--globoff"]
    if issued.method == "PUT":
        for name, value in issued.headers.items():
            command += ["--header", f"{name}: {value}"]
        command += ["--upload-file", str(path)]
    else:
        # Unlike --form, this reads no file that a value names.
        for name, value in issued.fields.items():
            command += ["--form-string", f"{name}={value}"]
        command += ["--form", f'file=@"{_escaped(str(path))}"']
    return shlex.join([*command, issued.url])


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _as_json(result: SweepResult, dry_run: bool) -> bytes:
    return orjson.dumps(
        {
            "deleted": result.deleted,
            "kept": result.kept,
            "aborted": result.aborted,
            "failed": result.failed,
            "parts_failure": result.parts_failure,
            "dry_run": dry_run,
        }
    )


def _as_sentence(result: SweepResult, dry_run: bool) -> str:
    deleted = f"{'Would delete' if dry_run else 'Deleted'} {_objects(result.deleted)}, kept {result.kept}"
    if result.aborted:
        deleted = f"{deleted}, {'would end' if dry_run else 'ended'} {result.aborted} unfinished"
    return f"{deleted}, could not delete {len(result.failed)}" if result.failed else deleted


def _objects(count: int) -> str:
    return f"{count} {'object' if count == 1 else 'objects'}"
