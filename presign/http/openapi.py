"""The HTTP contract as data: the operations with their errors, their JSON schemas, and the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

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
from presign.http.lists import LIST_PATHS, MAX_FILES, TooManyFiles
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
    """One operation of the contract: its path, its operation id, the names of its schemas, and the errors it answers.

    The members of the request are those of a POST's body, or the parameters of a GET or DELETE. The errors are those of
    a request for one file.
    """

    path: str
    name: str
    summary: str
    request: str
    answer: str
    errors: tuple[type[PresignError], ...]
    method: Literal["delete", "get", "post"] = "post"

    @property
    def takes_lists(self) -> bool:
        """Whether one request may have a list of the objects that single requests have."""
        return self.path in LIST_PATHS

    @property
    def codes(self) -> dict[int, list[str]]:
        """The codes of the problems, by HTTP status."""
        codes: dict[int, list[str]] = {}
        of_lists: list[type[PresignError]] = [TooManyFiles] if self.takes_lists else []
        for error in (*self.errors, *of_lists):
            codes.setdefault(error.status, []).append(error.code)
        return dict(sorted(codes.items()))


UPLOAD = Operation(
    path="/upload",
    name="upload",
    summary="Ask for a ticket for one file, or for the tickets of several files.",
    request="UploadRequest",
    answer="Ticket",
    errors=(*_ERRORS_OF_ALL, TooLarge, TypeNotAllowed, TooSmall, CredentialsUnavailable, StorageUnavailable),
)
COMPLETE = Operation(
    path="/complete",
    name="complete",
    summary="Ask the server to verify an upload after the file is stored, or several uploads.",
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


def _without_body(operation: Operation) -> tuple[type[PresignError], ...]:
    return tuple(error for error in operation.errors if error not in {BodyTooLarge, UnsupportedMediaType})


_MULTIPART = f"{companion_mode.PREFIX}{companion_mode.MULTIPART}"
COMPANION = Operation(
    path=f"{companion_mode.PREFIX}{companion_mode.PARAMS}",
    name="companion_params",
    summary="Ask for a ticket for one file, as Uppy does in its Companion mode.",
    request="UploadRequest",
    answer="Ticket",
    errors=_without_body(UPLOAD),
    method="get",
)
COMPANION_OPERATIONS = (
    COMPANION,
    Operation(
        path=_MULTIPART,
        name="companion_begin",
        summary="Begin the upload of a large file in parts, as Uppy does in its Companion mode.",
        request="UppyUpload",
        answer="UppyUploadInParts",
        errors=UPLOAD.errors,
    ),
    Operation(
        path=f"{_MULTIPART}/{{upload_id}}",
        name="companion_list",
        summary="Ask which parts of a large file are stored, as Uppy does to resume its upload.",
        request="CompletionRequest",
        answer="UppyParts",
        errors=_without_body(LIST_PARTS),
        method="get",
    ),
    Operation(
        path=f"{_MULTIPART}/{{upload_id}}",
        name="companion_abort",
        summary="End the upload of a large file, as Uppy does when it is cancelled.",
        request="CompletionRequest",
        answer="AbortedUpload",
        errors=_without_body(ABORT),
        method="delete",
    ),
    Operation(
        path=f"{_MULTIPART}/{{upload_id}}/batch",
        name="companion_sign_batch",
        summary="Ask for the addresses of several parts, as Uppy's Companion answers it.",
        request="PartsRequest",
        answer="UppyPartUrls",
        errors=_without_body(PARTS),
        method="get",
    ),
    Operation(
        path=f"{_MULTIPART}/{{upload_id}}/{{number}}",
        name="companion_sign",
        summary="Ask for the request of one part, as Uppy does in its Companion mode.",
        request="PartsRequest",
        answer="UppyPart",
        errors=_without_body(PARTS),
        method="get",
    ),
    Operation(
        path=f"{_MULTIPART}/{{upload_id}}/complete",
        name="companion_complete",
        summary="Ask whether all parts of a large file are stored; POST /complete then verifies and publishes it.",
        request="UppyPartsList",
        answer="UppyStored",
        errors=(*LIST_PARTS.errors, PartsMissing),
    ),
)


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


def openapi(presigner: Presigner, *, companion: bool = False, max_files: int = MAX_FILES) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the contract, with this presigner's content types and size limits.

    With ``companion``, it has the addresses for Uppy's Companion mode too. A list has ``max_files`` items at most.
    """
    paths: dict[str, dict[str, Any]] = {
        operation.path: {"post": _described(operation, max_files)} for operation in OPERATIONS
    }
    described = schemas(presigner)
    if companion:
        described |= UPPY_SCHEMAS
        for operation in COMPANION_OPERATIONS:
            parameters = companion_parameters(operation, presigner)
            paths.setdefault(operation.path, {})[operation.method] = {
                **_described(operation, max_files),
                **({"parameters": parameters} if parameters else {}),
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": "presign", "version": "1", "summary": "Tickets for uploads straight to object storage."},
        "paths": paths,
        "components": {"schemas": described},
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


def one_or_list(schema: dict[str, Any], *, max_files: int) -> dict[str, Any]:
    """Return the schema of one request, or of a list of such requests."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": max_files}]}


def listed_answer(answer: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one item of the answer to a list, for the schemas of a single answer and of a problem."""
    return {
        "type": "object",
        "description": "The answer to one item of a list: what a request for this file alone would be answered.",
        "required": ["status", "body"],
        "properties": {
            "status": {"type": "integer", "description": "The HTTP status."},
            "body": {"anyOf": [answer, problem]},
            "retry_after": {
                "type": "integer",
                "description": "After how many seconds to ask again for this file, where the single answer has the "
                "header Retry-After.",
            },
        },
    }


def _described(operation: Operation, max_files: int) -> dict[str, Any]:
    answer, request = _reference(operation.answer), _reference(operation.request)
    if operation.takes_lists:
        answer = {"anyOf": [answer, {"type": "array", "items": listed_answer(answer, _reference("Problem"))}]}
        request = one_or_list(request, max_files=max_files)
    responses = {"200": {"description": operation.answer, "content": {"application/json": {"schema": answer}}}}
    for status, codes in operation.codes.items():
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/problem+json": {"schema": _reference("Problem")}},
        }
    described = {"operationId": operation.name, "summary": operation.summary, "responses": responses}
    if operation.method == "post":
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": request}}}
    return described


def companion_parameters(operation: Operation, presigner: Presigner) -> list[dict[str, Any]]:
    """Return the parameters of a request in Uppy's Companion mode; all others that Uppy sends are ignored."""
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in (("upload_id", _UPLOAD_ID), ("number", _NUMBER))
        if f"{{{name}}}" in operation.path
    ]
    if operation is COMPANION:
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
    if operation.path.endswith("/batch"):
        in_path.append({"name": "partNumbers", "in": "query", "required": True, "schema": _PART_NUMBERS})
    return in_path


def _reference(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


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
                "pattern": _SHA256,
                "description": "The SHA-256 digest of the file in hexadecimal digits. The ticket then accepts only "
                "a file with this digest.",
            },
            "part_size": {
                **type_of("part_size", "integer"),
                "minimum": 1,
                "maximum": MAX_SIZE_BYTES,
                "description": "The size in bytes of the parts into which the client cuts the file, if it comes in "
                "parts. Without it, the server decides.",
            },
            "hashes_parts": {
                **type_of("hashes_parts", "boolean"),
                "description": "The client computes the SHA-256 digest of each part, if the file comes in parts.",
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


_NUMBER = {"type": "integer", "minimum": 1}
_UPLOAD_ID = {**_TEXT, "description": "The token of the ticket."}
_PART_NUMBERS = {
    "type": "string",
    "pattern": "^[0-9]+(,[0-9]+)*$",
    "description": "The numbers of the parts, with commas between them.",
}
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
    "required": [*_PLAN, "key", "size", "numbers"],
    "properties": {
        **_PLAN,
        "key": {**_TEXT, "description": "The object's name in the bucket or container, after the completion."},
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
_UPPY_SIZE = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+$"}]}
UPPY_SCHEMAS: dict[str, dict[str, Any]] = {
    "UppyUpload": {
        "type": "object",
        "description": "What Uppy sends to begin an upload in parts. It adds all metadata of the file.",
        "required": ["type", "metadata"],
        "properties": {
            "filename": {**_types("string", "null"), "maxLength": MAX_NAME_CHARACTERS},
            "type": _TEXT,
            "metadata": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {**_UPPY_SIZE, "description": "The file's size in bytes, which the page adds."},
                    "part_size": {
                        "anyOf": [*_UPPY_SIZE["anyOf"], {"type": "null"}],
                        "description": "What the page's `getChunkSize` returns, if it has one.",
                    },
                    "sha256": {**_types("string", "null"), "pattern": _SHA256},
                },
            },
        },
    },
    "UppyUploadInParts": {
        "type": "object",
        "description": "The upload that has begun.",
        "required": ["key", "uploadId"],
        "properties": {
            "key": {**_TEXT, "description": "The object's name in the bucket, after the completion."},
            "uploadId": {**_TEXT, "description": "The token: send it to `/complete` after Uppy's own completion."},
        },
    },
    "UppyParts": {
        "type": "array",
        "description": "The parts that are stored with their whole size.",
        "items": {
            "type": "object",
            "required": ["PartNumber", "Size", "ETag"],
            "properties": {
                "PartNumber": _NUMBER,
                "Size": {"type": "integer", "description": "The part's size in bytes."},
                "ETag": {**_TEXT, "description": "Not the storage's ETag, but a text that Uppy sends back."},
            },
        },
    },
    "UppyPart": {
        "type": "object",
        "description": "The request that stores one part.",
        "required": ["method", "url", "headers"],
        "properties": {"method": {"type": "string", "enum": ["PUT"]}, "url": _URL, "headers": _TEXTS_BY_NAME},
    },
    "UppyPartUrls": {
        "type": "object",
        "description": "The addresses to which the parts are sent with PUT, by the parts' numbers.",
        "required": ["presignedUrls"],
        "properties": {"presignedUrls": {"type": "object", "additionalProperties": _URL}},
    },
    "UppyPartsList": {
        "type": "object",
        "description": "Uppy's own list of parts. It is not read: the storage's list decides.",
    },
    "UppyStored": {
        "type": "object",
        "description": "All parts are stored. `/complete` with the token verifies and publishes the file.",
        "required": ["location", "key"],
        "properties": {
            "location": {**_OBJECT_URL, "description": "The address after the completion, if everybody may read it."},
            "key": {**_TEXT, "description": "The object's name in the bucket, after the completion."},
        },
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
