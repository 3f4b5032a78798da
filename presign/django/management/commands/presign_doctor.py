"""``manage.py presign_doctor``: send good and tampered uploads to the storages of the setting PRESIGN."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from presign.django.configuration import aliases
from presign.django.presigners import get_presigner
from presign.errors import ConfigurationError


class Command(BaseCommand):
    """Examine the storage of each alias of PRESIGN; the exit codes are those of ``presign doctor``."""

    help = "Send good and tampered uploads to the storage of each alias of PRESIGN, and say what is wrong with it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the aliases and the options."""
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="An alias of PRESIGN; by default each one.")
        parser.add_argument("--origin", help="The origin of the page that uploads; without it, CORS is not checked.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print each report as one JSON object.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Examine, print the reports, and end with the highest exit code."""
        try:
            # It needs urllib3, which a Django project need not have.
            from presign.doctor import examine_presigner
            from presign.doctor.command import print_reports
        except ModuleNotFoundError as error:
            raise CommandError(f'this needs {error.name}: pip install "presign-uploads[cli]"', returncode=2) from None
        try:
            known = aliases()
            chosen = options["aliases"] or known
            unknown = sorted(set(chosen) - set(known))
            if unknown:
                raise CommandError(f"the setting PRESIGN has no {', '.join(unknown)}", returncode=2)
            presigners = [get_presigner(alias) for alias in chosen]
        except ConfigurationError as error:
            raise CommandError(error.detail, returncode=2) from None
        examinations = [partial(examine_presigner, each, origin=options["origin"]) for each in presigners]
        exit_code = print_reports(examinations, as_json=options["as_json"], echo=self.stdout.write)
        if exit_code:
            sys.exit(exit_code)
