"""The objects of one bucket: described, read, deleted and listed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from presign.backends.backend import ListedObject, ObjectChanged, ObjectHead
from presign.backends.failures import storage_failed
from presign.backends.object_headers import HeaderNames
from presign.messages import Grant
from presign.s3.failures import call_errors, error_code, status_of
from presign.s3.requests import CONCLUSIVE_STATUSES, BucketRequests
from presign.signing.quoting import quote_value

HEADERS = HeaderNames(metadata_prefix="x-amz-meta-")

_UNEXPECTED_HEADERS = (
    "content-language",
    "expires",
    "x-amz-object-lock-legal-hold",
    "x-amz-tagging-count",
    "x-amz-website-redirect-location",
)
_USUAL_STORAGE_CLASSES = frozenset({"", "STANDARD", "EXPRESS_ONEZONE"})
# What S3 and SeaweedFS answer for an object under a customer-provided key (SSE-C) to a request without that key.
_ENCRYPTED_CODES = frozenset({"InvalidRequest", "InvalidArgument"})
# What a store without access control lists answers, or one that does not let the verifier read them.
_NO_LIST_STATUSES = frozenset({403, 405, 501})
_OWNER = re.compile(r"<Owner>.*?<ID>([^<]*)</ID>", re.DOTALL)
_GRANTEE = re.compile(r"<Grantee\b.*?<(?:ID|URI|EmailAddress)>([^<]+)<", re.DOTALL)
_UNREADABLE = ObjectHead(size=0, content_type="", etag="", readable=False)


class S3Objects:
    """The ObjectStore of one bucket; see presign.backends.backend.ObjectStore."""

    def __init__(self, requests: BucketRequests) -> None:
        self._requests = requests

    def head(self, key: str, *, first_bytes: int = 0) -> ObjectHead | None:
        """Return the description from HEAD, or with ``first_bytes`` from a GET, which returns no checksum.

        Returns None for 404, and for 403, which S3 answers for a missing object if the credentials may not list.
        """
        if first_bytes:
            response = self._requests.send("GET", key, {"range": f"bytes=0-{first_bytes - 1}"}, max_bytes=first_bytes)
        else:
            response = self._requests.send("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        if response is not None:
            if response.status == 404:
                return None
            return self._described(response.headers, response.content[:first_bytes] or None)
        try:
            described = self._requests.client.head_object(Bucket=self._requests.bucket, Key=key, ChecksumMode="ENABLED")
        except call_errors() as error:
            status = status_of(error)
            if status in {403, 404}:
                return None
            if status == 400 and self._is_encrypted(key):
                return _UNREADABLE
            raise self._requests.failed("HEAD", error) from None
        return self._described(described["ResponseMetadata"]["HTTPHeaders"])

    def read(self, key: str, *, offset: int, length: int, etag: str, version: str | None = None) -> bytes:
        """Return a range of the object's bytes; raises ObjectChanged if the object was replaced or deleted.

        With ``version``, that version is read: two files can have the same MD5, and so the same ETag.
        """
        byte_range, quoted_etag = f"bytes={offset}-{offset + length - 1}", f'"{etag}"'
        query = "" if version is None else f"versionId={quote_value(version)}"
        response = self._requests.send("GET", key, {"range": byte_range, "if-match": quoted_etag}, query=query)
        if response is not None:
            if response.status in {404, 412}:
                raise _changed(key)
            return response.content
        try:
            arguments: dict[str, Any] = {} if version is None else {"VersionId": version}
            body = self._requests.client.get_object(
                Bucket=self._requests.bucket, Key=key, Range=byte_range, IfMatch=quoted_etag, **arguments
            )["Body"]
            # Not as a context manager, which would give urllib3's stream and urllib3's errors.
            with closing(body):
                return body.read()
        except call_errors() as error:
            if status_of(error) in {404, 412}:
                raise _changed(key) from None
            raise self._requests.failed("GET", error) from None

    def delete(self, key: str, *, head: ObjectHead | ListedObject | None = None) -> None:
        """Delete the object, or only the one that ``head`` describes, and that version in a bucket with versions.

        If the credentials may not delete versions, the delete adds a delete marker, as it does without ``head``.
        """
        if head is not None and head.version is not None and self._delete_version(key, head.version):
            return
        # Only an object under a customer-provided key has no known ETag. It is deleted without a condition: by mistake,
        # this can only delete a later upload with the same ticket.
        etag = None if head is None or not head.etag else f'"{head.etag}"'
        if self._requests.send("DELETE", key, {} if etag is None else {"if-match": etag}) is not None:
            return
        arguments: dict[str, Any] = {} if etag is None else {"IfMatch": etag}
        try:
            self._requests.client.delete_object(Bucket=self._requests.bucket, Key=key, **arguments)
        except call_errors() as error:
            if status_of(error) in {404, 412}:
                return
            raise self._requests.failed("DELETE", error) from None

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Return the objects under ``prefix``; this needs the right to list the bucket (s3:ListBucket)."""
        pages = self._requests.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._requests.bucket, Prefix=prefix):
                for listed in page.get("Contents", []):
                    etag = listed["ETag"].strip('"')
                    yield ListedObject(
                        key=listed["Key"],
                        etag=etag,
                        stored_at=listed["LastModified"],
                        # The ETag of an object that came in parts has their number after a hyphen.
                        began_earlier="-" in etag,
                    )
        except call_errors() as error:
            raise self._requests.failed("LIST", error) from None

    def foreign_grants(self, key: str) -> dict[str, str]:
        """Return the grantees to whom the object's access control list gives a right, except its owner.

        Returns nothing if the store has no such lists, or does not show this one.
        """
        response = self._requests.send("GET", key, {}, query="acl=", conclusive=CONCLUSIVE_STATUSES | _NO_LIST_STATUSES)
        if response is None:
            owner, grantees = self._owner_and_grantees(key)
        elif response.status == 200:
            found = _OWNER.search(response.text)
            owner, grantees = found[1] if found else "", set(_GRANTEE.findall(response.text))
        else:
            return {}
        foreign = grantees - {owner}
        return {"access control list": ", ".join(sorted(foreign))} if foreign else {}

    def _described(self, headers: Mapping[str, str], first_bytes: bytes | None = None) -> ObjectHead:
        try:
            return _object_head(headers, first_bytes)
        except (KeyError, ValueError):
            # If the connection breaks, Python's HTTP client returns the headers that came before, without an error.
            raise storage_failed(f"s3://{self._requests.bucket}", "HEAD", "incomplete headers") from None

    def _owner_and_grantees(self, key: str) -> tuple[str, set[str]]:
        """Return the owner and the grantees from boto3, which retries: a failure must not look like an empty list."""
        try:
            answer: Any = self._requests.client.get_object_acl(Bucket=self._requests.bucket, Key=key)
        except call_errors() as error:
            if (status_of(error) or 500) < 500:
                return "", set()
            raise self._requests.failed("GET ACL", error) from None
        grantees = [grant.get("Grantee", {}) for grant in answer.get("Grants", [])]
        names = {who.get("ID") or who.get("URI") or who.get("EmailAddress") or "" for who in grantees}
        return answer.get("Owner", {}).get("ID", ""), names - {""}

    def _delete_version(self, key: str, version: str) -> bool:
        """Delete one version; return False if the credentials may not do that."""
        query = f"versionId={quote_value(version)}"
        response = self._requests.send("DELETE", key, {}, query=query, conclusive=CONCLUSIVE_STATUSES | {403})
        if response is not None:
            return response.status != 403
        try:
            self._requests.client.delete_object(Bucket=self._requests.bucket, Key=key, VersionId=version)
        except call_errors() as error:
            # After a failure, a delete without a version would only add a delete marker, and keep the bytes.
            if (status_of(error) or 500) >= 500:
                raise self._requests.failed("DELETE VERSION", error) from None
            return status_of(error) in {404, 412}
        return True

    def _is_encrypted(self, key: str) -> bool:
        """Say whether the object is under a customer-provided key; the answer to HEAD has no code that says this."""
        try:
            self._requests.client.get_object(Bucket=self._requests.bucket, Key=key)["Body"].close()
        except call_errors() as error:
            return error_code(error) in _ENCRYPTED_CODES
        return False


def _object_head(headers: Mapping[str, str], first_bytes: bytes | None = None) -> ObjectHead:
    # In the response to a range, the object's size follows the slash: bytes 0-1023/48213.
    size = headers["content-range"].rpartition("/")[2] if "content-range" in headers else headers["content-length"]
    unexpected = {name: value for name in _UNEXPECTED_HEADERS if (value := headers.get(name))}
    storage_class = headers.get("x-amz-storage-class", "")
    if storage_class not in _USUAL_STORAGE_CLASSES:
        unexpected["x-amz-storage-class"] = storage_class
    return ObjectHead(
        size=int(size),
        content_type=headers.get("content-type", ""),
        etag=headers["etag"].strip('"'),
        version=version_of(headers.get("x-amz-version-id")),
        sha256=_hex_of_checksum(headers.get("x-amz-checksum-sha256")),
        content_disposition=headers.get("content-disposition") or None,
        cache_control=headers.get("cache-control") or None,
        content_encoding=headers.get("content-encoding") or None,
        metadata=HEADERS.metadata(headers),
        unexpected_headers=unexpected,
        first_bytes=first_bytes,
    )


def object_arguments(grant: Grant) -> dict[str, Any]:
    """Return the type, the headers and the metadata of an object, as arguments of boto3."""
    arguments: dict[str, Any] = {"ContentType": grant.content_type, "Metadata": dict(grant.metadata)}
    if grant.content_disposition is not None:
        arguments["ContentDisposition"] = grant.content_disposition
    if grant.cache_control is not None:
        arguments["CacheControl"] = grant.cache_control
    return arguments


def version_of(version_id: str | None) -> str | None:
    """Return the version that a response names, or None for "null", the version in a bucket with suspended versioning.

    SeaweedFS sends "null" in the response to HEAD, but not in the response to a copy.
    """
    return None if version_id == "null" else version_id


def _hex_of_checksum(checksum: str | None) -> str | None:
    # An object uploaded in parts has a digest of the parts' digests, followed by "-" and their number.
    return None if not checksum or "-" in checksum else base64.b64decode(checksum).hex()


def _changed(key: str) -> ObjectChanged:
    return ObjectChanged(f"the object under {key} was replaced or deleted meanwhile")
