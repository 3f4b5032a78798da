"""For the tests of a Django project: uploads without network, bucket and credentials.

::

    class PhotoTests(TestCase):
        def test_a_photo_is_saved(self):
            alice = User.objects.create_user("alice")
            self.client.force_login(alice)
            with memory_uploads("photos") as uploads:
                token = uploads.token(picture, content_type="image/png", user=alice)
                self.client.post("/photos/", {"title": "a cat", "photo": token})
            self.assertIn(Photo.objects.get().key, uploads.backend.objects)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.test.utils import override_settings

from presign.backends.registry import prefix_of_address
from presign.django.authorization import owner_of_user
from presign.django.configuration import UploadSettings, read_settings
from presign.django.presigners import get_presigner
from presign.django.storages import prefix_of
from presign.messages import UploadRequest
from presign.testing import MemoryBackend


@dataclass(frozen=True, kw_only=True)
class MemoryUploads:
    """The uploads of one alias while a test runs; ``backend`` has what is stored."""

    alias: str
    backend: MemoryBackend

    def token(self, content: bytes, *, content_type: str, user: Any = None, name: str | None = None) -> str:
        """Upload ``content`` as the browser of ``user`` does, and return the token that its form posts.

        ``user`` is a user of the project, or None for somebody who is not signed in. ``authorize`` is not asked: a test
        of it calls the view, and gives the answer to ``backend.upload``. Raises what ``presign.Presigner.issue`` raises
        if the settings do not allow the upload.
        """
        request = UploadRequest(content_type=content_type, size=len(content), name=name)
        presigner, owner = get_presigner(self.alias), owner_of_user(user)
        ticket = presigner.issue(request, owner=owner)
        self.backend.upload(ticket, content, sign_parts=partial(presigner.sign_parts, ticket.token, owner=owner))
        return ticket.token


@contextmanager
def memory_uploads(alias: str) -> Iterator[MemoryUploads]:
    """Let the uploads of ``alias`` go to a ``presign.testing.MemoryBackend`` while the block lasts.

    Django's own ``override_settings`` replaces the member ``backend`` or ``storage`` of the setting PRESIGN. Everything
    else stays as it is set: the policy, the beginning of the keys, ``authorize``, ``inspect``, ``on_complete``, the
    signals. Raises KeyError for an unknown alias, and ConfigurationError for wrong settings.

    The views of a live server use the same backend, but a browser cannot send files to it. A test in a browser needs a
    real storage.
    """
    described = read_settings(alias)
    backend = MemoryBackend(name=alias)
    replaced = {
        **{name: value for name, value in settings.PRESIGN[alias].items() if name != "storage"},
        "backend": lambda: backend,
        "prefix": _prefix_of_place(described) + described.policy.get("prefix", ""),
    }
    with override_settings(PRESIGN={**settings.PRESIGN, alias: replaced}):
        yield MemoryUploads(alias=alias, backend=backend)


def _prefix_of_place(described: UploadSettings) -> str:
    """Return what the keys begin with because of the bucket's address or the storage's ``location``."""
    if described.backend is None:
        return prefix_of(storages[described.storage])
    return prefix_of_address(described.backend) if isinstance(described.backend, str) else ""
