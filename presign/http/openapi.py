"""The HTTP contract as data: the operations with their errors, their JSON schemas, and the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from presign.errors import (
    CompletionPending,
    CredentialsUnavailable,
    Forbidden,
    InvalidRequest,
    InvalidToken,
    NotUploaded,
    PartsMissing,
    PresignError,
    Rejected,
    RuleViolated,
    StorageUnavailable,
    TokenExpired,
    TooLarge,
    TooManyRequests,
    TooSmall,
    TypeNotAllowed,
    Unauthenticated,
    UploadEnded,
)
from presign.http import companion as companion_mode
from presign.http.request_body import BodyTooLarge, UnsupportedMediaType
from presign.messages import MAX_NAME_CHARACTERS, MAX_SIZE_BYTES, Rule
from presign.parts import MAX_PARTS_AT_ONCE
from presign.presigner import Presigner

_ERRORS_OF_ALL: tuple[type[PresignError], ...] = (
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    BodyTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the contract: its path, its operation id, the names of its schemas, and the errors it answers.

    The members of the request are those of a POST's body, or the parameters of a GET.
    """

    path: str
    name: str
    summary: str
    request: str
    answer: str
    errors: tuple[type[PresignError], ...]
    method: Literal["get", "post"] = "post"

    @property
    def codes(self) -> dict[int, list[str]]:
        """The codes of the problems, by HTTP status."""
        codes: dict[int, list[str]] = {}
        for error in self.errors:
            codes.setdefault(error.status, []).append(error.code)
        return dict(sorted(codes.items()))


UPLOAD = Operation(
    path="/upload",
    name="upload",
    summary="Ask for a ticket for one file.",
    request="UploadRequest",
    answer="Ticket",
    errors=(*_ERRORS_OF_ALL, TooLarge, TypeNotAllowed, TooSmall, CredentialsUnavailable, StorageUnavailable),
)
COMPLETE = Operation(
    path="/complete",
    name="complete",
    summary="Ask the server to verify an upload after the file is stored.",
    request="CompletionRequest",
    answer="StoredObject",
    errors=(
        *_ERRORS_OF_ALL,
        CompletionPending,
        InvalidToken,
        TokenExpired,
        NotUploaded,
        PartsMissing,
        UploadEnded,
        RuleViolated,
        Rejected,
        StorageUnavailable,
    ),
)
COMPANION = Operation(
    path=f"{companion_mode.PREFIX}{companion_mode.PARAMS}",
    name="companion_params",
    summary="Ask for a ticket for one file, as Uppy does in its Companion mode.",
    request="UploadRequest",
    answer="Ticket",
    errors=tuple(error for error in UPLOAD.errors if error not in {BodyTooLarge, UnsupportedMediaType}),
    method="get",
)
PARTS = Operation(
    path="/parts",
    name="sign_parts",
    summary="Ask for the requests that store some parts of a large file.",
    request="PartsRequest",
    answer="SignedParts",
    errors=(*_ERRORS_OF_ALL, InvalidToken, TokenExpired, CredentialsUnavailable),
)
LIST_PARTS = Operation(
    path="/parts/list",
    name="list_parts",
    summary="Ask which parts of a large file are stored, to resume its upload.",
    request="CompletionRequest",
    answer="UploadedParts",
    errors=(*_ERRORS_OF_ALL, InvalidToken, TokenExpired, UploadEnded, StorageUnavailable),
)
ABORT = Operation(
    path="/abort",
    name="abort",
    summary="End the upload of a large file, and delete the parts that are stored.",
    request="CompletionRequest",
    answer="AbortedUpload",
    errors=(*_ERRORS_OF_ALL, CompletionPending, InvalidToken, TokenExpired, StorageUnavailable),
)
OPERATIONS = (UPLOAD, COMPLETE, PARTS, LIST_PARTS, ABORT)


def _types(*names: str) -> dict[str, Any]:
    """Return the schema of values of these JSON types: by `anyOf`, because old FastAPI knows no list of types."""
    return {"type": names[0]} if len(names) == 1 else {"anyOf": [{"type": name} for name in names]}


_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_URL = {"type": "string", "format": "uri"}
_TEXTS_BY_NAME = {"type": "object", "additionalProperties": _TEXT}
_RULE_NAMES = [rule.value for rule in Rule]
# No path, no control character, and none that reverses the direction of the text.
_FILE_NAME = r"^(?!\.{1,2}$)[^/\\\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+$"
_SHA256 = "^[0-9a-f]{64}$"
_OBJECT_URL = {
    **_types("string", "null"),
    "format": "uri",
    "description": "The address of the object, or null if the object is private and has no address that anybody can "
    "read.",
}


def openapi(presigner: Presigner, *, companion: bool = False) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the contract, with this presigner's content types and size limits.

    With ``companion``, it has the address for Uppy's Companion mode too.
    """
    paths = {operation.path: {"post": _described(operation)} for operation in OPERATIONS}
    if companion:
        paths[COMPANION.path] = {"get": {**_described(COMPANION), "parameters": companion_parameters(presigner)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "presign", "version": "1", "summary": "Tickets for uploads straight to object storage."},
        "paths": paths,
        "components": {"schemas": schemas(presigner)},
    }


def schemas(presigner: Presigner) -> dict[str, dict[str, Any]]:
    """Return the JSON schemas by their names; requests have this presigner's content types and size limits."""
    return {
        "UploadRequest": _upload_request(presigner),
        "Ticket": TICKET,
        "CompletionRequest": _COMPLETION_REQUEST,
        "StoredObject": STORED_OBJECT,
        "PartsRequest": _PARTS_REQUEST,
        "SignedParts": SIGNED_PARTS,
        "UploadedParts": UPLOADED_PARTS,
        "AbortedUpload": ABORTED_UPLOAD,
        "Problem": PROBLEM,
    }


def _described(operation: Operation) -> dict[str, Any]:
    responses = {"200": {"description": operation.answer, "content": _content("application/json", operation.answer)}}
    for status, codes in operation.codes.items():
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": _content("application/problem+json", "Problem"),
        }
    described = {"operationId": operation.name, "summary": operation.summary, "responses": responses}
    if operation.method == "post":
        described["requestBody"] = {"required": True, "content": _content("application/json", operation.request)}
    return described


def companion_parameters(presigner: Presigner) -> list[dict[str, Any]]:
    """Return the parameters of the query that asks for a ticket in Uppy's Companion mode; all others are ignored."""
    request = _upload_request(presigner)
    return [
        {
            "name": name,
            "in": "query",
            "required": member in request["required"],
            "schema": request["properties"][member],
        }
        for name, member in companion_mode.MEMBERS.items()
    ]


def _content(media_type: str, schema: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _upload_request(presigner: Presigner) -> dict[str, Any]:
    policy, required = presigner.policy, ["type"]
    if presigner.requires_size:
        required.append("size")
    if policy.require_sha256:
        required.append("sha256")

    def type_of(member: str, name: str) -> dict[str, Any]:
        # An optional member may be null, which means the same as leaving it out.
        return _types(name) if member in required else _types(name, "null")

    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {
            "type": {
                "type": "string",
                "enum": sorted(policy.content_types),
                "description": "The file's media type. Upper-case letters are accepted as well.",
            },
            "size": {
                **type_of("size", "integer"),
                "minimum": policy.min_bytes,
                "maximum": min(policy.max_bytes, MAX_SIZE_BYTES),
                "description": "The file's size in bytes. The ticket then accepts exactly this size.",
            },
            "name": {
                **type_of("name", "string"),
                "minLength": 1,
                "maxLength": MAX_NAME_CHARACTERS,
                "pattern": _FILE_NAME,
                "description": "The file's name without a path.",
            },
            "sha256": {
                **type_of("sha256", "string"),
                "pattern": _SHA256,
                "description": "The SHA-256 digest of the file in hexadecimal digits. The ticket then accepts only "
                "a file with this digest.",
            },
            "hashes_parts": {
                **type_of("hashes_parts", "boolean"),
                "description": "The client computes the SHA-256 digest of each part, if the file comes in parts.",
            },
        },
    }


_NUMBER = {"type": "integer", "minimum": 1}
_PART_REQUEST = {
    "type": "object",
    "description": "The request that stores one part: send `method` to `url`, with all `headers` and exactly `size` "
    "bytes of the file as the body.",
    "required": ["number", "size", "method", "url", "headers"],
    "properties": {
        "number": {**_NUMBER, "description": "The part's number. Parts are numbered from 1, in the order of the file."},
        "size": {"type": "integer", "description": "The part's size in bytes."},
        "method": {"type": "string", "enum": ["PUT"]},
        "url": _URL,
        "headers": _TEXTS_BY_NAME,
    },
}
_PLAN = {
    "part_size": {
        "type": "integer",
        "description": "The size of every part in bytes, except the last, which has the rest of the file.",
    },
    "count": {**_NUMBER, "description": "How many parts there are."},
    "at_once": {**_NUMBER, "description": "For how many parts to ask at a time, so that no request expires unsent."},
    "needs_sha256": {
        "type": "boolean",
        "description": "Whether `/parts` needs the SHA-256 digest of each part.",
    },
    "resumable_until": {**_TIME, "description": "Until when parts can be sent and the upload can be completed."},
}
_TICKET_PARTS = {
    "type": "object",
    "description": "Only in the ticket of a large file, which comes in parts. Send the parts instead of the request "
    "of the ticket, several at a time, and ask `/parts` for the requests of the others.",
    "required": [*_PLAN, "requests"],
    "properties": {
        **_PLAN,
        "requests": {
            "type": "array",
            "items": _PART_REQUEST,
            "description": "The requests of the first parts; none if `needs_sha256`.",
        },
    },
}
TICKET = {
    "type": "object",
    "description": "The request that stores the file. Send `method` to `url`. With POST, send a multipart form that "
    "has all `fields` first and the file last, in a field named `file`. With PUT, send the file as the body, with "
    "all `headers`. A file that comes in `parts` is stored with the requests of its parts instead.",
    "required": ["method", "url", "fields", "headers", "expires_at", "now", "key", "object_url", "enforced", "token"],
    "properties": {
        "method": {"type": "string", "enum": ["POST", "PUT"]},
        "url": _URL,
        "fields": _TEXTS_BY_NAME,
        "headers": _TEXTS_BY_NAME,
        "expires_at": {**_TIME, "description": "The storage refuses the upload from this time on."},
        "now": {**_TIME, "description": "The server's time when it issued the ticket."},
        "key": {**_TEXT, "description": "The object's name in the bucket or container."},
        "object_url": _OBJECT_URL,
        "enforced": {
            "type": "object",
            "description": "For each rule, whether the storage refuses a file that breaks it, or the completion "
            "deletes the object.",
            "propertyNames": {"enum": _RULE_NAMES},
            "additionalProperties": {"type": "string", "enum": ["storage", "completion"]},
        },
        "token": {**_TEXT, "description": "Send this to `/complete` after the file is stored."},
        "parts": _TICKET_PARTS,
    },
}
_COMPLETION_REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["token"],
    "properties": {"token": {**_TEXT, "description": "The token of the ticket."}},
}
_PARTS_REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["token", "numbers"],
    "properties": {
        "token": {**_TEXT, "description": "The token of the ticket."},
        "numbers": {
            "type": "array",
            "items": _NUMBER,
            "minItems": 1,
            "maxItems": MAX_PARTS_AT_ONCE,
            "uniqueItems": True,
            "description": "The numbers of the parts.",
        },
        "sha256": {
            **_types("array", "null"),
            "items": {"type": "string", "pattern": _SHA256},
            "maxItems": MAX_PARTS_AT_ONCE,
            "description": "The SHA-256 digests of these parts, in the same order, if the ticket says "
            "`needs_sha256`; otherwise absent.",
        },
    },
}
SIGNED_PARTS = {
    "type": "object",
    "description": "The requests of the parts, in the order of the numbers that were asked for.",
    "required": ["requests", "expires_at", "now"],
    "properties": {
        "requests": {"type": "array", "items": _PART_REQUEST},
        "expires_at": {**_TIME, "description": "The storage refuses the requests from this time on. Ask again then."},
        "now": {**_TIME, "description": "The server's time when it signed the requests."},
    },
}
UPLOADED_PARTS = {
    "type": "object",
    "description": "What the storage has of the file.",
    "required": [*_PLAN, "size", "numbers"],
    "properties": {
        **_PLAN,
        "size": {"type": "integer", "description": "The file's size in bytes."},
        "numbers": {
            "type": "array",
            "items": _NUMBER,
            "description": "The numbers of the parts that are stored with their whole size, in ascending order.",
        },
    },
}
ABORTED_UPLOAD = {
    "type": "object",
    "description": "An object without members: no part of the file is stored any more. A file that was completed "
    "before is still stored.",
    "properties": {},
}
STORED_OBJECT = {
    "type": "object",
    "description": "The object that the server has verified.",
    "required": ["key", "object_url", "etag", "version", "size", "type"],
    "properties": {
        "key": {**_TEXT, "description": "The object's name in the bucket or container."},
        "object_url": _OBJECT_URL,
        "etag": {**_TEXT, "description": "The storage's identifier of exactly these bytes."},
        "version": {
            **_types("string", "null"),
            "description": "The object's version, or null if the storage keeps no versions.",
        },
        "size": {"type": "integer", "description": "The object's size in bytes."},
        "type": {**_TEXT, "description": "The object's media type."},
    },
}
PROBLEM = {
    "type": "object",
    "description": "An error (RFC 9457). `code` is stable and meant for programs; `title` and `detail` are meant for "
    "people and may change.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": _TEXT,
        "field": {**_TEXT, "description": "The member of the request that is wrong."},
        "value": {**_types("string", "integer"), "description": "The value of that member."},
        "limit": {
            **_types("string", "integer", "array"),
            "items": _TEXT,
            "description": "The limit that the value breaks, or a list of all values that are allowed.",
        },
        "rule": {"type": "string", "enum": _RULE_NAMES, "description": "The rule that the stored object broke."},
        "message": {**_TEXT, "description": "The same as `detail`; only in answers to Uppy's Companion mode."},
        "numbers": {
            "type": "array",
            "items": _NUMBER,
            "description": "The numbers of the parts that are missing, at most 1000 of them.",
        },
    },
}
