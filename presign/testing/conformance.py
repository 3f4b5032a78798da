"""The conformance checks. Each one sends real requests, and compares the storage's answers with the tickets.

::

    import pytest
    from presign.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check):
        check(Subject(backend=MyBackend(...)))

A check deletes what it stored. It raises AssertionError with the difference between the ticket and the storage. The
backend's credentials need permission to read and delete under both prefixes.
"""

from __future__ import annotations

from collections.abc import Callable

from presign.testing.completion_checks import (
    completes_only_an_existing_upload,
    detects_a_replaced_object,
    finishes_an_interrupted_completion,
    keeps_a_pending_upload_private,
    keeps_what_it_published,
    reads_and_deletes_the_named_object,
    refuses_a_copy_that_nobody_signed,
    refuses_attributes_that_nobody_signed,
    refuses_the_token_of_another_presigner,
)
from presign.testing.part_checks import (
    commits_only_whole_files,
    finishes_an_interrupted_completion_of_parts,
    refuses_another_part_than_was_signed,
    refuses_other_bytes_than_were_hashed,
    stores_a_file_in_parts,
    verifies_a_file_that_came_in_parts,
)
from presign.testing.subject import Subject
from presign.testing.ticket_checks import (
    accepts_a_valid_upload,
    binds_a_ticket_to_its_key,
    enforces_an_exact_size,
    enforces_create_only,
    enforces_the_checksum,
    enforces_the_content_type,
    enforces_the_headers,
    enforces_the_size_range,
    refuses_a_forged_signature,
    refuses_a_tampered_ticket,
    refuses_a_ticket_before_its_start,
    refuses_an_expired_ticket,
    stores_under_unusual_keys,
)

CHECKS: tuple[Callable[[Subject], None], ...] = (
    accepts_a_valid_upload,
    enforces_the_size_range,
    enforces_an_exact_size,
    enforces_the_content_type,
    enforces_the_checksum,
    enforces_the_headers,
    enforces_create_only,
    keeps_a_pending_upload_private,
    keeps_what_it_published,
    refuses_a_copy_that_nobody_signed,
    refuses_attributes_that_nobody_signed,
    refuses_the_token_of_another_presigner,
    finishes_an_interrupted_completion,
    detects_a_replaced_object,
    binds_a_ticket_to_its_key,
    refuses_a_forged_signature,
    refuses_a_tampered_ticket,
    refuses_a_ticket_before_its_start,
    stores_under_unusual_keys,
    refuses_an_expired_ticket,
    completes_only_an_existing_upload,
    reads_and_deletes_the_named_object,
    stores_a_file_in_parts,
    refuses_another_part_than_was_signed,
    refuses_other_bytes_than_were_hashed,
    commits_only_whole_files,
    verifies_a_file_that_came_in_parts,
    finishes_an_interrupted_completion_of_parts,
)
"""Every check. A backend conforms if none of them raises."""
