"""The HTTP contract as data: the operations with their errors, their JSON schemas, and the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

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
from presign.http.request_body import BodyTooLarge, UnsupportedMediaType
from presign.messages import MAX_NAME_CHARACTERS, MAX_SIZE_BYTES, Rule
from presign.parts import MAX_PARTS_AT_ONCE
from presign.presigner import Presigner
from presign.progress import CompletionStep

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
    """One POST of the contract: its path, its operation id, the names of its schemas, and the errors it answers."""

    path: str
    name: str
    summary: str
    request: str
    answer: str
    errors: tuple[type[PresignError], ...]

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
_ERRORS_OF_PARTS = (*_ERRORS_OF_ALL, InvalidToken, TokenExpired)
SIGN_PARTS = Operation(
    path="/parts",
    name="sign_parts",
    summary="Ask for the requests that send some parts of a large file.",
    request="PartsRequest",
    answer="SignedParts",
    errors=(*_ERRORS_OF_PARTS, CredentialsUnavailable),
)
LIST_PARTS = Operation(
    path="/parts/list",
    name="list_parts",
    summary="Ask which parts of a large file are stored, to resume its upload.",
    request="CompletionRequest",
    answer="UploadedParts",
    errors=(*_ERRORS_OF_PARTS, UploadEnded, StorageUnavailable),
)
ABORT = Operation(
    path="/abort",
    name="abort",
    summary="End the upload of a large file, and delete what was sent.",
    request="CompletionRequest",
    answer="Aborted",
    errors=(*_ERRORS_OF_PARTS, CompletionPending, StorageUnavailable),
)
OPERATIONS = (UPLOAD, COMPLETE, SIGN_PARTS, LIST_PARTS, ABORT)


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
_OBJECT_URL = {
    **_types("string", "null"),
    "format": "uri",
    "description": "The address of the object, or null if the object is private and has no address that anybody can "
    "read.",
}


def openapi(presigner: Presigner) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the contract, with this presigner's content types and size limits."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "presign", "version": "1", "summary": "Tickets for uploads straight to object storage."},
        "paths": {operation.path: {"post": _described(operation)} for operation in OPERATIONS},
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
        "Aborted": ABORTED,
        "Problem": PROBLEM,
    }


def _described(operation: Operation) -> dict[str, Any]:
    responses = {"200": {"description": operation.answer, "content": _content("application/json", operation.answer)}}
    for status, codes in operation.codes.items():
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": _content("application/problem+json", "Problem"),
        }
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "requestBody": {"required": True, "content": _content("application/json", operation.request)},
        "responses": responses,
    }


def _content(media_type: str, schema: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _upload_request(presigner: Presigner) -> dict[str, Any]:
    policy, required = presigner.policy, ["type"]
    if presigner.requires_size:
        required.append("size")
    # A file that comes in parts may have the digest of its parts instead.
    needs_either = policy.require_sha256 and presigner.takes_parts
    if policy.require_sha256 and not needs_either:
        required.append("sha256")

    def type_of(member: str, name: str) -> dict[str, Any]:
        # An optional member may be null, which means the same as leaving it out.
        return _types(name) if member in required else _types(name, "null")

    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        **_one_of_the_digests(is_required=needs_either),
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
                "pattern": "^[0-9a-f]{64}$",
                "description": "The SHA-256 digest of the file in hexadecimal digits. The ticket then accepts only "
                "a file with this digest.",
            },
            "hashes_parts": {
                **_types("boolean", "null"),
                "description": "Whether the client computes the SHA-256 of each part, if the file comes in parts.",
            },
            "parts_digest": {
                **(_types("object", "null") if presigner.takes_parts else _types("null")),
                "additionalProperties": False,
                "required": ["part_size", "sha256"],
                "properties": {
                    "part_size": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_SIZE_BYTES,
                        "description": "The size of every part in bytes, except the last. If the server cuts the file "
                        "differently, its answer names the size as the `limit`.",
                    },
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
                "description": "For a file that comes in parts, in the place of `sha256`: the SHA-256 digest of the "
                "SHA-256 digests of its parts, one after another. The ticket then accepts only such a file.",
            },
        },
    }


def _one_of_the_digests(*, is_required: bool) -> dict[str, Any]:
    """Return what the schema of a request says about its digests, of which it may have one."""
    given = [
        {"required": [name], "properties": {name: _types(type_name)}}
        for name, type_name in (("sha256", "string"), ("parts_digest", "object"))
    ]
    return {"not": {"allOf": given}, **({"anyOf": given} if is_required else {})}


_PART_REQUESTS = {
    "type": "array",
    "description": "For each part, the request that stores it. Send `method` to `url`, with all `headers`, and exactly "
    "`size` bytes of the file, from `part_size` times `number - 1` on.",
    "items": {
        "type": "object",
        "required": ["number", "size", "method", "url", "headers"],
        "properties": {
            "number": {"type": "integer", "minimum": 1},
            "size": {"type": "integer", "minimum": 0},
            "method": {"type": "string", "enum": ["PUT"]},
            "url": _URL,
            "headers": _TEXTS_BY_NAME,
        },
    },
}
_PLAN_MEMBERS = {
    "part_size": {
        "type": "integer",
        "description": "The size of every part in bytes, except the last, which has the rest of the file.",
    },
    "count": {"type": "integer", "description": "How many parts the file has. Numbers begin with 1."},
    "at_once": {
        "type": "integer",
        "description": "For how many parts to ask at a time, so that no request expires before it is sent.",
    },
    "needs_sha256": {
        "type": "boolean",
        "description": "Whether `/parts` needs the SHA-256 of each part.",
    },
    "resumable_until": {**_TIME, "description": "From this time on, nothing of the file can be sent or completed."},
}
TICKET = {
    "type": "object",
    "description": "The request that stores the file. Send `method` to `url`. With POST, send a multipart form that "
    "has all `fields` first and the file last, in a field named `file`. With PUT, send the file as the body, with "
    "all `headers`. If the ticket has `parts`, send the requests of the parts instead.",
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
        "parts": {
            "type": "object",
            "description": "How a large file is cut into parts, and the requests of the first ones. There are none if "
            "`needs_sha256` is true. Ask `/parts` for the others.",
            "required": [*_PLAN_MEMBERS, "requests"],
            "properties": {**_PLAN_MEMBERS, "requests": _PART_REQUESTS},
        },
    },
}
_PARTS_REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["token", "numbers"],
    "properties": {
        "token": {**_TEXT, "description": "The token of the ticket."},
        "numbers": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_PARTS_AT_ONCE,
            "uniqueItems": True,
            "items": {"type": "integer", "minimum": 1},
            "description": "The numbers of the parts, each once.",
        },
        "sha256": {
            **_types("array", "null"),
            "items": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "description": "The SHA-256 digests of these parts in hexadecimal digits, in the same order. Required if "
            "the ticket says `needs_sha256`, and refused otherwise.",
        },
    },
}
SIGNED_PARTS = {
    "type": "object",
    "description": "The requests that store the parts.",
    "required": ["requests", "expires_at", "now"],
    "properties": {
        "requests": _PART_REQUESTS,
        "expires_at": {**_TIME, "description": "The storage refuses the parts from this time on. Then ask again."},
        "now": {**_TIME, "description": "The server's time when it signed the requests."},
    },
}
UPLOADED_PARTS = {
    "type": "object",
    "description": "Which parts of the file are stored.",
    "required": ["size", *_PLAN_MEMBERS, "numbers"],
    "properties": {
        "size": {"type": "integer", "description": "The size of the whole file in bytes."},
        **_PLAN_MEMBERS,
        "numbers": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "The numbers of the parts that are stored completely. All of them are there after the "
            "file was put together.",
        },
    },
}
ABORTED = {"type": "object", "description": "The upload has ended."}
_COMPLETION_REQUEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["token"],
    "properties": {"token": {**_TEXT, "description": "The token of the ticket."}},
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
        "numbers": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "The numbers of the parts that are missing, at most 1,000 of them.",
        },
        "progress": {
            "type": "object",
            "description": "How far a completion is that takes longer: its step and, if they are known, how many bytes "
            "of the step are done.",
            "required": ["step"],
            "properties": {
                "step": {"type": "string", "enum": list(get_args(CompletionStep))},
                "done": {"type": "integer"},
                "of": {"type": "integer"},
            },
        },
    },
}
