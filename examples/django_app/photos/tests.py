"""Tests without network and bucket: ``python manage.py test``."""

from django.contrib.auth.models import User
from django.test import TestCase

from photos.models import Photo
from presign.django.testing import memory_uploads

PICTURE = b"\x89PNG\r\n\x1a\n..."


class PhotoTests(TestCase):
    def setUp(self):
        self.alice = User.objects.create_user("alice")
        self.client.force_login(self.alice)

    def test_a_photo_is_saved_with_the_key_of_its_upload(self):
        with memory_uploads("photos") as uploads:
            token = uploads.token(PICTURE, content_type="image/png", user=self.alice)
            self.client.post("/", {"title": "a cat", "photo": token})
            key = Photo.objects.get().key
            self.assertEqual(uploads.backend.objects[key].content, PICTURE)

    def test_a_file_that_is_no_picture_is_refused(self):
        with memory_uploads("photos") as uploads:
            token = uploads.token(b"<script>", content_type="image/png", user=self.alice)
            page = self.client.post("/", {"title": "a cat", "photo": token})
        self.assertContains(page, "it is not what was announced")
        self.assertFalse(Photo.objects.exists())
