"""The requests of browsers that Signature Version 4 signs, as far as they are the same on every cloud that uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from presign.backends.backend import SignedUpload
from presign.backends.object_headers import HeaderNames
from presign.backends.parts import PartToSign
from presign.backends.settings import check_texts
from presign.errors import ConfigurationError
from presign.messages import Grant, PartRequest
from presign.signing.bucket_location import BucketLocation
from presign.signing.quoting import quote_path, quote_value
from presign.signing.signers import Signers
from presign.signing.sigv4 import RequestSeriesSigner

UploadMethod = Literal["auto", "post", "put"]

_NOTHING: Mapping[str, str] = {}


class SignatureV4Requests:
    """Sign uploads and downloads for one bucket.

    - ``location``: the bucket's location as browsers reach it.
    - ``header_names``: the cloud's names for the headers of an object.
    - ``upload_method``: ``"post"`` or ``"put"`` for every upload. ``"auto"`` chooses PUT if the grant is create-only,
      because no form can promise that, or if the store has no POST; and POST otherwise.
    - ``store_has_post``: whether the store accepts POST forms.

    Raises ConfigurationError for another ``upload_method``.
    """

    def __init__(
        self,
        *,
        location: BucketLocation,
        header_names: HeaderNames,
        upload_method: UploadMethod,
        store_has_post: bool = True,
    ) -> None:
        check_texts({"upload_method": upload_method})
        if upload_method not in {"auto", "post", "put"}:
            raise ConfigurationError(
                "upload_method must be auto, post or put", field="upload_method", value=upload_method
            )
        self._location = location
        self._header_names = header_names
        self._posts = upload_method == "post" or (upload_method == "auto" and store_has_post)
        self._posts_create_only = upload_method == "post"

    @property
    def posts_always(self) -> bool:
        """Whether ``upload_method`` is ``"post"``."""
        return self._posts_create_only

    def uses_post(self, grant: Grant) -> bool:
        """Say whether an upload for ``grant`` is a POST form, and not a PUT."""
        return self._posts_create_only if grant.create_only else self._posts

    def sign_post(self, grant: Grant, signers: Signers, extra_fields: Mapping[str, str] = _NOTHING) -> SignedUpload:
        """Return a POST form with ``extra_fields``; the policy covers every field and the range of sizes."""
        fields = {
            "key": grant.upload_key,
            "Content-Type": grant.content_type,
            **self._header_names.of_object(grant),
            **extra_fields,
            # The response to 201 has a body with the location, also on Ceph, whose 204 lacks CORS headers.
            "success_action_status": "201",
        }
        signed = signers.forms.sign(fields, min_bytes=grant.min_bytes, max_bytes=grant.max_bytes)
        return SignedUpload("POST", self._location.base_url, {}, signed, signers.expires_at)

    def sign_put(
        self,
        grant: Grant,
        signers: Signers,
        extra_headers: Mapping[str, str],
        automatic_headers: Mapping[str, str] = _NOTHING,
    ) -> SignedUpload:
        """Return a PUT with ``extra_headers``; every header is signed.

        ``automatic_headers`` are signed too, but they are not in the ticket: HTTP clients send them themselves, and
        browsers let no script set them. Their names are in lower case.
        """
        headers = {"Content-Type": grant.content_type, **self._header_names.of_object(grant), **extra_headers}
        signed = {name.lower(): value for name, value in headers.items()}
        if automatic_headers:
            signed.update(automatic_headers)
        url = signers.urls.sign_url(self._location, "PUT", grant.upload_key, signed)
        return SignedUpload("PUT", url, headers, {}, signers.expires_at)

    def sign_parts(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartToSign],
        signers: Signers,
        *,
        checksum_headers: Callable[[str], Mapping[str, str]] | None = None,
        fixed_headers: Mapping[str, str] = _NOTHING,
    ) -> list[PartRequest]:
        """Return the PUTs that send parts of one upload.

        Number, upload and size are signed, and so are the headers that ``checksum_headers`` returns for the SHA-256 of
        a part, with names in lower case. Without it, no checksum is sent. ``fixed_headers`` are signed and sent with
        every part.
        """
        # Signatures of parts of one size differ in the part's number alone.
        signing: dict[int, Callable[[int], str]] = {}
        location, quoted_key = self._location, quote_path(key)
        object_url, encoded_upload = f"{location.base_url}{quoted_key}", f"&uploadId={quote_value(upload_id)}"
        requests = []
        for number, size, digest in parts:
            checksum = _NOTHING if digest is None or checksum_headers is None else checksum_headers(digest)
            headers = {**fixed_headers, **checksum} if checksum else fixed_headers
            if checksum or len(parts) == 1:
                query = (("partNumber", str(number)), ("uploadId", upload_id))
                signed = {**headers, "content-length": str(size)}
                url = signers.urls.sign_url(location, "PUT", key, signed, query)
            else:
                sign = signing.get(size)
                if sign is None:
                    series = RequestSeriesSigner(
                        signers.urls,
                        method="PUT",
                        host=location.host,
                        path=f"{location.path_prefix}{quoted_key}",
                        headers={**fixed_headers, "content-length": str(size)},
                    )
                    signing[size] = sign = series.numbered(object_url, "partNumber", encoded_upload)
                url = sign(number)
            requests.append(PartRequest(number, size, url, headers))
        return requests

    def object_headers(self, grant: Grant) -> dict[str, str]:
        """Return the granted content disposition, cache control and metadata as headers."""
        return self._header_names.of_object(grant)

    def sign_download(self, key: str, signers: Signers, content_disposition: str | None) -> str:
        """Return a presigned GET; the storage sends ``content_disposition`` as a header of the response."""
        query = () if content_disposition is None else (("response-content-disposition", content_disposition),)
        return signers.urls.sign_url(self._location, "GET", key, {}, query)

    def object_url(self, key: str) -> str:
        """Return the object's own URL."""
        return f"{self._location.base_url}{quote_path(key)}"
