"""Uppy's Companion mode: what Uppy 5 and 6 ask their own server, translated to requests of the HTTP contract.

A single upload: ``GET /s3/params?filename=cat.png&type=image/png&metadata[size]=48213`` is answered with a ticket, of
which Uppy reads ``method``, ``url``, ``fields`` and ``headers``.

An upload in parts, where the ticket's token takes the place of S3's upload id:

- ``POST /s3/multipart`` with ``{"filename", "type", "metadata": {"size"}}`` begins it: ``{"key", "uploadId"}``
- ``GET /s3/multipart/TOKEN/NUMBER`` signs a part: ``{"url"}``, and ``.../batch?partNumbers=1,2`` several of them
- ``GET /s3/multipart/TOKEN`` lists the parts that are stored: ``[{"PartNumber", "Size", "ETag"}]``
- ``POST /s3/multipart/TOKEN/complete`` says whether all of them are: ``{"location", "key"}``
- ``DELETE /s3/multipart/TOKEN`` ends it: ``{}``

As after a single upload, the page then posts the token to ``/complete``. Uppy's own completion does not wait for that:
it would take an answer of 202 for the end, and give up an upload after an answer of 503. The list of parts that Uppy
posts is not read, because the store's own list decides. For the same reason, the ``ETag`` of a listed part is only its
number: Uppy sends it back, and nobody else reads it.

Companion's own answers also have ``expires`` and ``bucket``. Uppy needs neither. Where it reads ``expires``, it takes
it for a limit on the time of the transfer, so no answer has it.

Uppy 5 shows the member ``message`` of a refusal to the user, so every problem has it here. Sources:
``HTTPCommunicationQueue.ts``, ``MultipartUploader.ts`` and ``index.ts`` in @uppy/aws-s3 5.1.0, ``RequestClient.ts`` in
@uppy/companion-client 5.1.1, and ``CompanionS3.ts`` and ``S3Uploader.ts`` in @uppy/aws-s3 6.3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import orjson

from presign.errors import InvalidRequest, PartsMissing
from presign.http.problems import ProblemResponse, problem_response_for_status
from presign.http.request_body import MAX_BODY_BYTES
from presign.messages import UploadRequest
from presign.presigner import Presigner

PREFIX = "/s3/"
"""What Uppy puts between the address that it is given and the name of what it asks for."""

PARAMS = "params"
"""The name of the parameters of a single upload."""

MULTIPART = "multipart"
"""The name of uploads in parts."""

SIZE = "metadata[size]"
MEMBERS = {"type": "type", "filename": "name", SIZE: "size", "metadata[sha256]": "sha256"}
"""The parameters of the query that mean something here, and the members of ``POST /upload`` that they become."""

MAX_PARTS_BODY_BYTES = 1024 * 1024
"""The largest body with which Uppy completes an upload in parts. Its list of 10,000 parts has about 700 KB."""

PART_BYTES = 5 * 1024 * 1024
"""The size of the parts into which Uppy cuts a file, unless the page says otherwise."""

_MAX_PARAMETERS = 100
_MAX_PARTS = 10_000
_MAX_DIGITS = len(str(2**63))
_METADATA_SIZE = "metadata.size"


@dataclass(frozen=True, kw_only=True)
class Call:
    """What Uppy asks for, as a request of the contract.

    - ``path``: the endpoint of the contract, such as ``"/upload"``.
    - ``body_for``: makes the body of that request from Uppy's query and body. Raises InvalidRequest.
    - ``answer_from``: makes the answer to Uppy from the endpoint's answer. Raises a PresignError.
    - ``max_body_bytes``: how large Uppy's body may be; 0 if it has none that counts.
    """

    path: str
    body_for: Callable[[Presigner, str, bytes], bytes]
    answer_from: Callable[[Presigner, bytes], bytes]
    max_body_bytes: int = 0


def find(name: str, method: str) -> Call | ProblemResponse:
    """Return the call for a request for ``name``, which is what follows ``/s3/``, or the answer if there is none."""
    calls = _calls(name)
    if not calls:
        problem = problem_response_for_status(
            404, title="Not Found", detail="only Uppy's uploads to S3 are served here, single ones and those in parts"
        )
    elif method not in calls:
        allowed = ", ".join(sorted(calls))
        problem = problem_response_for_status(405, title="Method Not Allowed", headers={"Allow": allowed})
    else:
        return calls[method]
    return with_message(problem)


def methods_of(name: str) -> list[str]:
    """Return the methods of the requests for ``name``; none if it is not served."""
    return sorted(_calls(name))


def with_message(problem: ProblemResponse) -> ProblemResponse:
    """Return the problem with its ``detail`` as ``message`` too."""
    members = orjson.loads(problem.body)
    return problem._replace(body=orjson.dumps({**members, "message": members["detail"]}))


def _calls(name: str) -> Mapping[str, Call]:
    first, *rest = name.split("/")
    if name == PARAMS:
        return {"GET": Call(path="/upload", body_for=_single_upload, answer_from=_unchanged)}
    if name == MULTIPART:
        begin = Call(path="/upload", body_for=_upload_in_parts, answer_from=_begun, max_body_bytes=MAX_BODY_BYTES)
        return {"POST": begin}
    if first != MULTIPART or not rest[0] or len(rest) > 2:
        return {}
    token, *what = rest
    of_token = partial(_of_token, token)
    if not what:
        return {
            "GET": Call(path="/parts/list", body_for=of_token, answer_from=_listed),
            "DELETE": Call(path="/abort", body_for=of_token, answer_from=_unchanged),
        }
    if what == ["complete"]:
        return {
            "POST": Call(
                path="/parts/list", body_for=of_token, answer_from=_stored, max_body_bytes=MAX_PARTS_BODY_BYTES
            )
        }
    if what == ["batch"]:
        return {"GET": Call(path="/parts", body_for=partial(_parts_of_query, token), answer_from=_signed_batch)}
    if _is_number(what[0]):
        numbers = partial(_of_token, token, numbers=[int(what[0])])
        return {"GET": Call(path="/parts", body_for=numbers, answer_from=_signed)}
    return {}


# What Uppy asks


def _single_upload(presigner: Presigner, query: str, body: bytes) -> bytes:
    """Uppy sends all metadata of the file; only ``size`` and ``sha256`` mean something here."""
    try:
        parameters = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise InvalidRequest("the query is not in the form name=value&name=value") from None
    values = [(MEMBERS[name], value) for name, value in parameters if name in MEMBERS]
    members: dict[str, str | int] = dict(values)
    if len(members) != len(values):
        raise InvalidRequest("the query has a parameter twice")
    if "size" in members:
        members["size"] = _whole_number(members["size"], SIZE)
    elif presigner.requires_size:
        raise _size_is_missing(SIZE)
    if presigner.comes_in_parts(UploadRequest.from_json(members)) and _is_allowed_size(presigner, members):
        raise InvalidRequest(f"a file of this size comes in parts: {_how_to_split(presigner)}", field=SIZE)
    return orjson.dumps(members)


def _upload_in_parts(presigner: Presigner, query: str, body: bytes) -> bytes:
    """Uppy sends all metadata of the file; only ``size``, ``part_size`` and ``sha256`` mean something here."""
    try:
        posted = orjson.loads(body)
    except orjson.JSONDecodeError:
        posted = None
    metadata = posted.get("metadata") if isinstance(posted, dict) else None
    if not isinstance(posted, dict) or not isinstance(metadata, dict | None):
        raise InvalidRequest("the body must be a JSON object with 'filename', 'type' and an object 'metadata'")
    metadata = metadata or {}
    if metadata.get("size") is None:
        raise _size_is_missing(_METADATA_SIZE)
    size = _whole_number(metadata["size"], _METADATA_SIZE)
    wanted = metadata.get("part_size")
    members = {
        "type": posted.get("type"),
        "name": posted.get("filename"),
        "size": size,
        "sha256": metadata.get("sha256"),
        "part_size": max(PART_BYTES, -(-size // _MAX_PARTS))
        if wanted is None
        else _whole_number(wanted, "metadata.part_size"),
    }
    if not presigner.comes_in_parts(UploadRequest.from_json(members)):
        raise InvalidRequest(f"this file comes in one request: {_how_to_split(presigner)}", field=_METADATA_SIZE)
    store = presigner.backend.parts
    if store is not None and not store.answers_with_etag:
        raise InvalidRequest(
            f"Uppy needs an ETag for each part, and {presigner.backend.name} answers with none; use another client for "
            "files of this size",
            field=_METADATA_SIZE,
        )
    return orjson.dumps(members)


def _of_token(token: str, presigner: Presigner, query: str, body: bytes, *, numbers: list[int] | None = None) -> bytes:
    return orjson.dumps({"token": token} if numbers is None else {"token": token, "numbers": numbers})


def _parts_of_query(token: str, presigner: Presigner, query: str, body: bytes) -> bytes:
    try:
        (joined,) = parse_qs(query, max_num_fields=_MAX_PARAMETERS).get("partNumbers", [""])
    except ValueError:
        joined = ""
    numbers = joined.split(",")
    if not all(map(_is_number, numbers)):
        raise InvalidRequest("'partNumbers' must be part numbers with commas between them", field="partNumbers")
    return _of_token(token, presigner, query, body, numbers=[int(number) for number in numbers])


# What Uppy gets


def _unchanged(presigner: Presigner, answer: bytes) -> bytes:
    return answer


def _begun(presigner: Presigner, answer: bytes) -> bytes:
    ticket = orjson.loads(answer)
    return orjson.dumps({"key": ticket["key"], "uploadId": ticket["token"]})


def _signed(presigner: Presigner, answer: bytes) -> bytes:
    (request,) = orjson.loads(answer)["requests"]
    return orjson.dumps({"method": request["method"], "url": request["url"], "headers": request["headers"]})


def _signed_batch(presigner: Presigner, answer: bytes) -> bytes:
    requests = orjson.loads(answer)["requests"]
    return orjson.dumps({"presignedUrls": {str(request["number"]): request["url"] for request in requests}})


def _listed(presigner: Presigner, answer: bytes) -> bytes:
    uploaded = orjson.loads(answer)
    rest = uploaded["size"] - (uploaded["count"] - 1) * uploaded["part_size"]
    return orjson.dumps(
        [
            {
                "PartNumber": number,
                "Size": rest if number == uploaded["count"] else uploaded["part_size"],
                "ETag": str(number),
            }
            for number in uploaded["numbers"]
        ]
    )


def _stored(presigner: Presigner, answer: bytes) -> bytes:
    uploaded = orjson.loads(answer)
    missing = sorted({*range(1, uploaded["count"] + 1)} - {*uploaded["numbers"]})
    if missing:
        raise PartsMissing(
            f"the store lacks {len(missing)} of {uploaded['count']} parts, or they have other sizes than "
            f"{uploaded['part_size']} bytes",
            numbers=tuple(missing),
        )
    key = uploaded["key"]
    location = presigner.backend.object_url(key) if presigner.policy.public_read else None
    return orjson.dumps({"location": location, "key": key})


def _is_allowed_size(presigner: Presigner, members: Mapping[str, Any]) -> bool:
    """Say whether ``POST /upload`` would not refuse the size, with a better reason than that of parts."""
    return bool(members["size"] <= presigner.policy.max_bytes)


def _how_to_split(presigner: Presigner) -> str:
    least = presigner.parts_from_bytes
    value = "false" if least is None else f"({{ size }}) => size >= {least}"
    return f"set shouldUseMultipart: {value} in Uppy"


def _size_is_missing(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{field}' is required: call uppy.setFileMeta(file.id, {{ size: file.size }}) before the upload", field=field
    )


def _whole_number(value: Any, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not (isinstance(value, str) and _is_number(value)):
        raise InvalidRequest(f"'{field}' must be a whole number of bytes", field=field, value=str(value))
    return int(value)


def _is_number(text: str) -> bool:
    # isdigit, because int also accepts signs, spaces and underscores; and int refuses a text of 4,300 digits.
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
