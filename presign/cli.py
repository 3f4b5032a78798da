"""The command line: ``presign doctor``, ``presign sweep`` and ``presign upload``.

Exit codes of ``sweep``: 0 all is well; 1 some objects could not be deleted; 2 the command or a setting is wrong, or the
storage is not available.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click
import orjson

from presign.backends import open_backend
from presign.doctor.command import doctor
from presign.doctor.durations import UNITS, read_duration
from presign.errors import PresignError
from presign.policy import DEFAULT_MAX_EXPIRES_IN
from presign.presigner import COMPLETION_WINDOW
from presign.sweeping import SweepResult
from presign.sweeping import sweep as sweep_store
from presign.uploading.command import upload

DEFAULT_OLDER_THAN = "26h"
DEFAULT_PARTS_OLDER_THAN = "8d"

_SOME_FAILED = 1
_CANNOT_RUN = 2
_COMPLETABLE_FOR = DEFAULT_MAX_EXPIRES_IN + COMPLETION_WINDOW


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Examine or sweep the storage where presign stores uploads, or upload a file as a browser does.

    The storage's credentials are those that the provider's own SDK finds, for example in AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.
    """


main.add_command(doctor)
main.add_command(upload)


@main.command()
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
