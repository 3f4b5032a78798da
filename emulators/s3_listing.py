"""The answers that describe: ListObjectsV2, without delimiters, and GetObjectAcl.

Source: Amazon S3 API Reference, "ListObjectsV2", "GetObjectAcl".
"""

from __future__ import annotations

import base64
import re
from xml.sax.saxutils import escape

from starlette.responses import Response

from emulators.body_digest import base64_or_empty
from emulators.received_request import ReceivedRequest, Refusal, percent_encoded
from emulators.s3_bucket import S3Object, Target

LARGEST_PAGE = 1000


def list_objects(received: ReceivedRequest, target: Target) -> Response:
    """Return one page of the bucket's objects, in the order of their keys' bytes."""
    if received.parameter("list-type") != "2":
        raise Refusal(501, "NotImplemented", "Only version 2 of the listing is part of this server.")
    prefix = received.parameter("prefix") or ""
    size = _page_size(received.parameter("max-keys"))
    token = received.parameter("continuation-token")
    after = received.parameter("start-after") or ""
    if token is not None:
        after = base64_or_empty(token).decode("utf-8", errors="replace")
        if not after:
            raise Refusal(400, "InvalidArgument", "The continuation token provided is incorrect")
    encoding = received.parameter("encoding-type")
    if encoding not in (None, "url"):
        raise Refusal(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
    keys = sorted((k for k in target.bucket.objects if k.startswith(prefix)), key=str.encode)
    left = [key for key in keys if key.encode() > after.encode()]
    page = left[:size]
    elements = {
        "Name": target.name,
        "Prefix": _text(prefix, encoding),
        "MaxKeys": str(size),
        "KeyCount": str(len(page)),
        "IsTruncated": "true" if page and len(left) > size else "false",
        **({"EncodingType": encoding} if encoding else {}),
        **({"ContinuationToken": escape(token)} if token else {}),
    }
    if elements["IsTruncated"] == "true":
        elements["NextContinuationToken"] = base64.b64encode(page[-1].encode()).decode()
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    contents = "".join(_contents(target, key, encoding) for key in page)
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}{contents}</ListBucketResult>'
    )
    return Response(document, media_type="application/xml")


def access_control_list(stored: S3Object) -> Response:
    """Return an object's access control list: its owner's rights and, if its ACL says so, everybody's."""
    granted = [('CanonicalUser"><ID>owner</ID>', "FULL_CONTROL")]
    if stored.is_public:
        granted.append(('Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>', "READ"))
    instance = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="'
    grants = "".join(
        f"<Grant><Grantee {instance}{grantee}</Grantee><Permission>{permission}</Permission></Grant>"
        for grantee, permission in granted
    )
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy><Owner><ID>owner</ID></Owner>'
        f"<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
    return Response(document, media_type="application/xml")


def _contents(target: Target, key: str, encoding: str | None) -> str:
    stored = target.bucket.objects[key]
    modified = stored.last_modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{_text(key, encoding)}</Key><LastModified>{modified}</LastModified>"
        f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.body)}</Size>"
        f"<StorageClass>{escape(stored.storage_class)}</StorageClass></Contents>"
    )


def _page_size(text: str | None) -> int:
    if text is None:
        return LARGEST_PAGE
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refusal(400, "InvalidArgument", "max-keys must be a whole number.")
    return min(int(text), LARGEST_PAGE)


def _text(value: str, encoding: str | None) -> str:
    return percent_encoded(value, keep_slashes=True) if encoding else escape(value)
