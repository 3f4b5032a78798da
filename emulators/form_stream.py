"""A POST form read as it streams: fields first, then one file whose bytes go on at once.

Source: Amazon S3 API Reference, "POST Object" (the file is the last field; what follows it is ignored; at most 20 KB
come before it; `${filename}` is the file's name after its last slash or backslash).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from emulators.received_request import Refusal
from emulators.upload_buffer import UploadBuffer

LARGEST_PRE_FILE_BYTES = 20_480

FileSink = Callable[[bytes], None]
BeginFile = Callable[[dict[str, str], str], FileSink]


class AdmittedForm(Protocol):
    """What a server made of a form's fields; the file goes to `upload`."""

    @property
    def upload(self) -> UploadBuffer: ...


Form = TypeVar("Form", bound=AdmittedForm)


async def read_admitted_form(
    chunks: AsyncIterator[bytes], *, content_type: str, admit: Callable[[dict[str, str], str], Form]
) -> Form:
    """Stream one form to what `admit(fields, file_name)` returns as soon as the file starts, and return that."""
    admitted: Form | None = None

    def begin_file(fields: dict[str, str], file_name: str) -> FileSink:
        nonlocal admitted
        admitted = admit(fields, file_name)
        return admitted.upload.receive

    await read_form(chunks, content_type=content_type, begin_file=begin_file)
    if admitted is None:
        raise RuntimeError("read_form returned without a file")
    return admitted


async def read_form(chunks: AsyncIterator[bytes], *, content_type: str, begin_file: BeginFile) -> None:
    """Stream one form: `begin_file(fields, file_name)` is asked for a sink as soon as the file starts.

    Field names are given in lower case. Whatever the sink or `begin_file` raises ends the reading at once.
    """
    reader = _FormReader(_boundary(content_type), begin_file)
    async for chunk in chunks:
        reader.write(chunk)
    reader.finish()


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 1 <= len(boundary) <= 256:
        raise Refusal(412, "PreconditionFailed", "Bucket POST must be of the enclosure-type multipart/form-data")
    return boundary


def base_name(file_name: str) -> str:
    """The part of a file name after its last slash or backslash."""
    return re.split(r"[/\\]", file_name)[-1]


class _FormReader:
    def __init__(self, boundary: bytes, begin_file: BeginFile) -> None:
        self._begin_file = begin_file
        self._fields: dict[str, str] = {}
        self._sink: FileSink | None = None
        self._pre_file_bytes = 0
        self._in_file = False
        self._ended = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._name = ""
        self._value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_part,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed("The body of your POST request is not well-formed multipart/form-data.") from error

    def finish(self) -> None:
        if not self._ended:
            raise _malformed("The body of your POST request has no end.")
        if self._sink is None:
            raise _wrong_number_of_files()

    def _part_begin(self) -> None:
        self._disposition = b""
        self._name = ""
        self._value = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header_name += data[start:end]

    def _header_value_part(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            if self._disposition:
                raise _malformed("A part has two Content-Disposition headers.")
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        disposition, options = parse_options_header(self._disposition)
        if disposition != b"form-data" or b"name" not in options:
            raise _malformed("A part has no name.")
        self._name = _text(options[b"name"]).lower()
        if self._name != "file":
            if self._sink is None and self._name in self._fields:
                raise Refusal(400, "InvalidArgument", f"The field {self._name} was sent twice.")
            return
        if self._sink is not None:
            raise _wrong_number_of_files()
        self._in_file = True
        self._sink = self._begin_file(dict(self._fields), _text(options.get(b"filename", b"")))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._sink is not None:
            self._sink(data[start:end])
        elif self._sink is None:
            self._count(end - start)
            self._value += data[start:end]

    def _part_end(self) -> None:
        if self._sink is None:
            self._fields[self._name] = _text(bytes(self._value))
        self._in_file = False

    def _end(self) -> None:
        self._ended = True

    def _count(self, length: int) -> None:
        if self._sink is None:
            self._pre_file_bytes += length
        if self._pre_file_bytes > LARGEST_PRE_FILE_BYTES:
            message = "Your POST request fields preceding the upload file were too large."
            raise Refusal(400, "MaxPostPreDataLengthExceeded", message)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("A field is not UTF-8.") from error


def _malformed(message: str) -> Refusal:
    return Refusal(400, "MalformedPOSTRequest", message)


def _wrong_number_of_files() -> Refusal:
    message = "POST requires exactly one file upload per request."
    return Refusal(400, "IncorrectNumberOfFilesInPostRequest", message)
