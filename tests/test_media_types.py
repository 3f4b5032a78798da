from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib
from gzip import compress

import pytest

from presign.media_types import FIRST_BYTES, find_mismatch


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png() -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


def _wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(b"\0\0" * 8)
    return buffer.getvalue()


def _ftyp(brand: bytes, *more: bytes) -> bytes:
    body = b"ftyp" + brand + b"\0\0\0\0" + b"".join(more)
    return struct.pack(">I", len(body) + 4) + body


GENUINE = {
    "image/png": _png(),
    "image/jpeg": bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb"),
    "image/gif": b"GIF89a\x01\0\x01\0\x80\0\0",
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0",
    "image/avif": _ftyp(b"avif", b"avifmif1miaf"),
    "image/heic": _ftyp(b"heic", b"mif1heic"),
    "image/bmp": b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + struct.pack("<I", 40) + b"\0" * 36,
    "image/tiff": b"II*\0\x08\0\0\0",
    "image/x-icon": b"\0\0\x01\0\x01\0\x10\x10\0\0",
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "application/zip": _zip(),
    "application/gzip": compress(b"hello"),
    "audio/wav": _wav(),
    "audio/flac": b"fLaC\0\0\0\x22",
    "audio/ogg": b"OggS\0\x02" + b"\0" * 22 + b"\x01vorbis",
    "video/webm": bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d"),
    "video/mp4": _ftyp(b"isom", b"isomiso2avc1mp41"),
    "audio/mpeg": b"ID3\x03\0\0\0\0\0\0",
    "text/plain": b"hello, world\n",
    "text/csv": b"a,b\n1,2\n",
    "application/json": b'{"a": 1}',
    "application/octet-stream": bytes(range(256)),
}


@pytest.mark.parametrize("content_type", sorted(GENUINE))
def test_nothing_speaks_against_a_genuine_file(content_type: str) -> None:
    assert find_mismatch(content_type, GENUINE[content_type][:FIRST_BYTES]) is None


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/jpeg", "application/pdf", "application/zip", "video/webm"]
)
@pytest.mark.parametrize("actual", ["image/gif", "text/plain", "application/gzip", "audio/mpeg"])
def test_a_file_without_its_types_signature_is_found_out(content_type: str, actual: str) -> None:
    assert find_mismatch(content_type, GENUINE[actual]) is not None


@pytest.mark.parametrize(
    "markup",
    [
        b"<!DOCTYPE html><html>",
        b"<html>",
        b"\n \t<HTML >",
        b"\xef\xbb\xbf<script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'>",
        b"<?xml version='1.0'?><svg/>",
        b"<!-- --><script>",
        b"<iframe src=x>",
        b"<body onload=x>",
    ],
)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/csv", "application/octet-stream", "image/png", "video/mp4"]
)
def test_markup_that_browsers_would_run_hides_in_no_other_type(content_type: str, markup: bytes) -> None:
    assert find_mismatch(content_type, markup) == "markup (html, svg or xml)"


def test_markup_is_what_an_active_type_holds() -> None:
    assert find_mismatch("image/svg+xml", b"<svg/>") is None
    assert find_mismatch("text/html;charset=utf-8", b"<!doctype html>") is None


@pytest.mark.parametrize("text", [b"1 < 2 and <3", b"a <html> b", b"<notatag>", b"<", b""])
def test_text_that_is_no_markup_passes(text: bytes) -> None:
    assert find_mismatch("text/plain", text) is None


def test_an_empty_file_shows_no_signature() -> None:
    assert find_mismatch("image/png", b"") == "an unknown format"
