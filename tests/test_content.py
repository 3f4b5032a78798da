"""What an object's first bytes say about its type.

Each verified type is shown by well-formed files, made here byte by byte or with the standard library, and by foreign
files under its name.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import sqlite3
import struct
import sys
import tracemalloc
import wave
import zipfile
import zlib
from contextlib import closing
from functools import partial
from gzip import compress
from pathlib import Path
from timeit import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presign.content import FIRST_BYTES, MARKUP, VERIFIED_TYPES, find_mismatch

TYPES = Path(__file__).resolve().parent.parent / "docs" / "types.md"
UNKNOWN = "an unknown format"
OPENXML = "application/vnd.openxmlformats-officedocument"
DOCX, XLSX, PPTX = (
    f"{OPENXML}.{kind}" for kind in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")
)
ODT = "application/vnd.oasis.opendocument.text"
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + b"\x3e\0\x03\0\xfe\xff\x09\0" + bytes(480)
EBML = bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d")
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
CSS_COMMENT = b"/* a style sheet */"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png() -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _bmp(header_bytes: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 58, 7, 7, 54) + struct.pack("<I", header_bytes) + b"\0" * 36


def _zip(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _streamed_zip(name: str, content: bytes) -> bytes:
    """Return an archive whose local header has no sizes, because its writer could not go back to fill them in."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return pipe.getvalue()


def _list_of_parts(main_type: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xlsx" ContentType="{XLSX}"/>'
        f'<Override PartName="/main.xml" ContentType="{main_type}.main+xml"/></Types>'
    ).encode()


def _office(content_type: str, folder: str) -> list[bytes]:
    parts = ("[Content_Types].xml", _list_of_parts(content_type))
    rest = [("_rels/.rels", b"<Relationships/>"), (f"{folder}/main.xml", b"<main/>")]
    long_list = (parts[0], parts[1] + b"<!-- " + bytes(i * 7919 % 251 + 1 for i in range(20_000)) + b" -->")
    return [
        _zip(parts, *rest),
        _zip(parts, *rest, method=zipfile.ZIP_STORED),
        _streamed_zip(*parts),
        _zip(long_list, *rest),
        _zip((parts[0], parts[1].decode().encode("utf-16")), *rest),
        _zip(*rest, parts),
        _zip(*reversed(rest), parts),
        _zip(("docProps/app.xml", b"<Properties/>"), *rest, parts),
        _zip(("any name", b"x"), *rest, parts),
        OLE,
    ]


def _open_document(content_type: str) -> list[bytes]:
    mimetype = ("mimetype", content_type.encode())
    content = ("content.xml", b"<office:document-content/>")
    return [
        _zip(mimetype, content, method=zipfile.ZIP_STORED),
        _zip(mimetype, content),
        _zip(content, ("META-INF/manifest.xml", b"<manifest/>")),
    ]


def _wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(b"\0\0" * 8)
    return buffer.getvalue()


def _box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def _ftyp(brand: bytes, *more: bytes) -> bytes:
    return _box(b"ftyp", brand + b"\0\0\0\0" + b"".join(more)) + _box(b"free")


def _sqlite() -> bytes:
    if sys.version_info >= (3, 11):
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("create table t (x)")
            return connection.serialize()
    return b"SQLite format 3\0" + struct.pack(">HBB", 4096, 1, 1) + bytes(80)


MPEG_FILES = [
    _ftyp(b"isom", b"isom", b"iso2", b"avc1", b"mp41"),
    _ftyp(b"iso6", b"iso6", b"mp41"),
    _ftyp(b"dash"),
    _ftyp(b"xyz9"),
    _ftyp(b"M4A ", b"M4A ", b"mp42"),
    _ftyp(b"qt  ", b"qt  "),
    _ftyp(b"3gp5", b"3gp5"),
    _box(b"wide") + _box(b"mdat", bytes(8)),
    _box(b"moov", _box(b"mvhd", bytes(100))),
    b"\0\0\0\x01mdat" + struct.pack(">Q", 16),
    _box(b"styp", b"msdh\0\0\0\0msdh"),
]
OLD_WORD = [b"\xdb\xa5-\0\0\0" + bytes(64), b"1\xbe\0\0\0\xab" + bytes(64)]
# The beginning of a photo of an iPhone: the brands, then the item table whose handler is for pictures.
IPHONE_PHOTO = _box(b"ftyp", b"heic\0\0\0\0mif1MiHBmiafMiHEheic") + _box(
    b"meta",
    bytes(4)
    + _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
    + _box(b"dinf", _box(b"dref", bytes(7) + b"\x01" + _box(b"url ", b"\0\0\0\x01")))
    + _box(b"pitm", bytes(4) + b"\0\x31")
    + _box(b"iinf", bytes(4) + b"\0\x01" + _box(b"infe", b"\x02\0\0\0\0\x01\0\0hvc1\0")),
)
RTF = b"{\\rtf1\\ansi hello}"
WOFF_HEADER = struct.pack(">IIHHIHH", 0x00010000, 100, 1, 0, 100, 1, 0)

# Well-formed files of every verified format, by one of its types.
GENUINE: dict[str, list[bytes]] = {
    "image/png": [_png()],
    "image/jpeg": [
        bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb"),
        bytes.fromhex("ffd8ffe1001845786966000049492a0008000000"),
        bytes.fromhex("ffd8ffdb004300"),
    ],
    "image/gif": [b"GIF89a\x01\0\x01\0\x80\0\0", b"GIF87a\x01\0\x01\0\0\0\0"],
    "image/webp": [b"RIFF\x24\0\0\0WEBPVP8" + last + b"\x18\0\0\0" for last in (b" ", b"L", b"X")],
    "image/avif": [
        _ftyp(b"avif", b"avif", b"mif1", b"miaf"),
        _ftyp(b"mif1", b"mif1", b"miaf", b"avif"),
        _ftyp(b"avis", b"avis", b"msf1"),
    ],
    "image/heic": [
        IPHONE_PHOTO,
        _ftyp(b"heic", b"mif1", b"heic"),
        _ftyp(b"mif1", b"mif1", b"heic"),
        _ftyp(b"hevc", b"msf1"),
    ],
    "image/heif": [_ftyp(b"mif1", b"mif1"), _ftyp(b"heic", b"mif1"), _ftyp(b"msf1", b"hevc"), _ftyp(b"avif", b"mif1")],
    "image/jxl": [b"\xff\x0a\x7f\0", b"\0\0\0\x0cJXL \r\n\x87\n" + _ftyp(b"jxl ")],
    "image/jp2": [b"\0\0\0\x0cjP  \r\n\x87\n" + _ftyp(b"jp2 "), b"\xff\x4f\xff\x51\0\x2f"],
    "image/bmp": [_bmp(size) for size in (12, 40, 52, 56, 64, 108, 124)],
    "image/tiff": [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"],
    "image/vnd.microsoft.icon": [b"\0\0\x01\0\x01\0\x10\x10\0\0", b"\0\0\x02\0\x01\0\x10\x10\0\0"],
    "image/vnd.adobe.photoshop": [b"8BPS\0\x01" + bytes(6) + b"\0\x03", b"8BPS\0\x02" + bytes(6) + b"\0\x03"],
    "audio/wav": [_wav(), b"RF64\xff\xff\xff\xffWAVEds64", b"BW64\xff\xff\xff\xffWAVEds64", b"RIFX\0\0\0\x24WAVEfmt "],
    "audio/aiff": [b"FORM\0\0\0\x2eAIFFCOMM", b"FORM\0\0\0\x2eAIFCFVER"],
    "audio/flac": [b"fLaC\0\0\0\x22", b"ID3\x03\0\0\0\0\0\0fLaC\0\0\0\x22"],
    "audio/aac": [
        b"\xff\xf1\x50\x80\x02\x1f\xfc",
        b"\xff\xf9\x50\x80\x02\x1f\xfc",
        b"ADIF\0\0",
        b"ID3\x04\0\0\0\0\0\0",
    ],
    "audio/mpeg": [
        b"ID3\x02\0\0\0\0\0\0",
        b"ID3\x03\0\0\0\0\0\0",
        b"ID3\x04\0\0\0\0\0\0",
        *(bytes((0xFF, second, 0x90, 0x64)) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2, 0xFD, 0xFC, 0xFF)),
        bytes(417) + b"\xff\xfb\x90\x64",
        b"APETAGEX\xd0\x07\0\0",
    ],
    "audio/midi": [b"MThd\0\0\0\x06\0\x01\0\x01\0\x60", b"RIFF\x24\0\0\0RMIDdata"],
    "audio/amr": [b"#!AMR\n\x3c", b"#!AMR-WB\n\x3c", b"#!AMR_MC1.0\n\0"],
    "audio/ogg": [b"OggS\0\x02" + b"\0" * 22 + b"\x01vorbis", b"OggS\0\x02" + b"\0" * 22 + b"OpusHead"],
    "video/webm": [EBML],
    "video/mp4": MPEG_FILES,
    "video/x-msvideo": [b"RIFF\x24\0\0\0AVI LIST"],
    "video/x-ms-wmv": [ASF],
    "video/x-flv": [b"FLV\x01\x05\0\0\0\x09"],
    "video/mpeg": [
        b"\0\0\x01\xba\x44\0\x04\0\x04\x01",
        b"\0\0\x01\xba\x21\0\x01\0\x01",
        b"\0\0\x01\xb3\x14\0\xf0",
        b"\0\0\0\0\0\x01\xb3\x14\0\xf0",
        (b"G\x40\0\x10" + b"\xff" * 184) * 3,
    ],
    "application/pdf": [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", b"%PDF-2.0\r", b"\xef\xbb\xbf%PDF-1.4\n", b"\r\n%PDF-1.4\n"],
    "application/rtf": [RTF],
    DOCX: _office(DOCX, "word"),
    XLSX: _office(XLSX, "xl"),
    PPTX: _office(PPTX, "ppt"),
    "application/msword": [OLE, RTF, *OLD_WORD],
    "application/vnd.ms-excel": [OLE, b"\x09\0\x04\0\x02\0\x10\0", b"\x09\x02\x06\0\0\0\x10\0", b"\x09\x04\x06\0\0\0"],
    "application/vnd.ms-powerpoint": [OLE, b"\xed\xde\xad\x0b\x02\0"],
    ODT: _open_document(ODT),
    "application/vnd.oasis.opendocument.spreadsheet": _open_document("application/vnd.oasis.opendocument.spreadsheet"),
    "application/vnd.oasis.opendocument.presentation": _open_document(
        "application/vnd.oasis.opendocument.presentation"
    ),
    "application/vnd.oasis.opendocument.graphics": _open_document("application/vnd.oasis.opendocument.graphics"),
    "application/epub+zip": _open_document("application/epub+zip"),
    "text/vtt": [b"WEBVTT\n\n00:01.000 --> 00:02.000\nhello", b"\xef\xbb\xbfWEBVTT a title\r\n", b"WEBVTT"],
    "font/woff": [b"wOFF" + WOFF_HEADER],
    "font/woff2": [b"wOF2" + WOFF_HEADER],
    "font/ttf": [b"\0\x01\0\0\0\x0a\0\x80", b"OTTO\0\x0a\0\x80", b"true\0\x0a\0\x80", b"ttcf\0\x01\0\0"],
    "application/zip": [_zip(("a.txt", b"a")), _zip(), _streamed_zip("a.txt", b"a"), b"PK00" + _zip(("a.txt", b"a"))],
    "application/gzip": [compress(b"hello")],
    "application/x-bzip2": [bz2.compress(b"hello")],
    "application/x-xz": [lzma.compress(b"hello")],
    "application/zstd": [bytes.fromhex("28b52ffd2405290000") + b"hello", bytes.fromhex("502a4d1800000000")],
    "application/x-7z-compressed": [b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24)],
    "application/vnd.rar": [b"Rar!\x1a\x07\0\xcf\x90\x73", b"Rar!\x1a\x07\x01\0\x33\x92", b"RE~^\x07\0"],
    "application/vnd.sqlite3": [_sqlite()],
    "application/wasm": [b"\0asm\x01\0\0\0"],
    "application/vnd.apache.parquet": [b"PAR1\x15\x04", b"PARE\x15\x04"],
    "application/json": [
        b'{"a": 1}',
        b"\n\t [1]",
        b'"text"',
        b"-1.5e3",
        b"0",
        b"true",
        b"false",
        b"null",
        b" " * FIRST_BYTES + b"1",
        b"1" * FIRST_BYTES + b"2",
        b"{" + b" " * FIRST_BYTES + b"}",
        b"12e-5 \n",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
    ],
}
# Other names of the same formats.
OTHER_NAMES = {
    "image/png": "image/apng image/x-png",
    "image/jpeg": "image/jpg image/pjpeg",
    "image/heic": "image/heic-sequence",
    "image/heif": "image/heif-sequence",
    "image/bmp": "image/x-ms-bmp image/x-bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/vnd.adobe.photoshop": "image/x-photoshop application/x-photoshop",
    "audio/wav": "audio/wave audio/x-wav audio/vnd.wave",
    "audio/aiff": "audio/x-aiff",
    "audio/flac": "audio/x-flac",
    "audio/aac": "audio/x-aac",
    "audio/mpeg": "audio/mp3 audio/x-mp3 audio/mpeg3",
    "audio/midi": "audio/x-midi audio/mid",
    "audio/amr": "audio/amr-wb",
    "audio/ogg": "video/ogg application/ogg",
    "video/webm": "audio/webm video/x-matroska audio/x-matroska video/matroska audio/matroska",
    "video/mp4": (
        "audio/mp4 application/mp4 video/x-m4v audio/x-m4a audio/m4a video/quicktime video/3gpp audio/3gpp video/3gpp2"
        " audio/3gpp2"
    ),
    "video/x-msvideo": "video/avi video/msvideo video/vnd.avi",
    "video/x-ms-wmv": "video/x-ms-asf audio/x-ms-wma",
    "video/mpeg": "video/x-mpeg",
    "application/pdf": "application/x-pdf",
    "application/rtf": "text/rtf application/x-rtf",
    "application/vnd.ms-excel": "application/msexcel",
    "application/vnd.ms-powerpoint": "application/mspowerpoint",
    "font/woff": "application/font-woff application/x-font-woff",
    "font/woff2": "application/font-woff2",
    "font/ttf": "font/otf font/sfnt font/collection application/x-font-ttf application/x-font-otf",
    "application/zip": "application/x-zip-compressed",
    "application/gzip": "application/x-gzip",
    "application/x-bzip2": "application/x-bzip",
    "application/vnd.rar": "application/x-rar-compressed application/x-rar",
    "application/vnd.sqlite3": "application/x-sqlite3",
}
BY_TYPE = GENUINE | {other: GENUINE[name] for name, others in OTHER_NAMES.items() for other in others.split()}
GENUINE_CASES = [
    pytest.param(content_type, file, id=f"{content_type}-{number}")
    for content_type, files in sorted(BY_TYPE.items())
    for number, file in enumerate(files)
]
PROGRAMS = {
    "a program for Windows": [
        b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff" + bytes(46) + b"\x80\0\0\0",
        b"MZ" + b"A" * 58 + b"\x40\x41\x41\x01",
    ],
    "a program for Linux (ELF)": [b"\x7fELF\x02\x01\x01\0"],
    "a program for macOS (Mach-O)": [
        b"\xfe\xed\xfa\xce\0\0\0\x12",
        b"\xfe\xed\xfa\xcf\x01\0\0\x07",
        b"\xce\xfa\xed\xfe\x07\0\0\0",
        b"\xcf\xfa\xed\xfe\x07\0\0\x01",
        b"\xca\xfe\xba\xbe\0\0\0\x02\x01\0\0\x07",
        b"\xca\xfe\xba\xbf\0\0\0\x02\x01\0\0\x07",
    ],
    "a Java class": [b"\xca\xfe\xba\xbe\0\0\0\x2d\0\x1d", b"\xca\xfe\xba\xbe\xff\xff\0\x41\0\x1d"],
    "a script (#!)": [b"#!/bin/sh\n", b"#! /usr/bin/env python3\n", b"\xef\xbb\xbf#!/bin/sh\n", b"#!perl\n"],
    "a PHP script": [
        b"<?php system($_GET['c']);",
        b"<?PHP\n",
        b"<?= `id` ?>",
        b"\n \t<?php ",
        b"\xef\xbb\xbf<?php ",
    ],
}
PROGRAM_CASES = [(name, program) for name, programs in PROGRAMS.items() for program in programs]
TEXT = b"hello, world\n"
WITHOUT_SIGNATURE = {
    "text/plain": TEXT,
    "text/csv": b"a,b\n1,2\n",
    "application/octet-stream": bytes(range(256)),
    "application/x-tar": b"name" + bytes(508),
    "model/whatever": TEXT,
}


@pytest.mark.parametrize(("content_type", "file"), GENUINE_CASES)
def test_nothing_speaks_against_a_genuine_file(content_type: str, file: bytes) -> None:
    assert find_mismatch(content_type, file[:FIRST_BYTES]) is None


@pytest.mark.parametrize("content_type", sorted(WITHOUT_SIGNATURE))
def test_nothing_speaks_against_a_file_of_a_type_without_a_signature(content_type: str) -> None:
    assert find_mismatch(content_type, WITHOUT_SIGNATURE[content_type]) is None


def test_genuine_files_are_shown_for_every_verified_type() -> None:
    assert set(BY_TYPE) == VERIFIED_TYPES


@pytest.mark.parametrize("content_type", sorted(VERIFIED_TYPES))
def test_a_foreign_file_is_found_out_under_every_verified_type(content_type: str) -> None:
    own_files = set(BY_TYPE[content_type])
    for foreign_type in ("image/png", "image/gif", "audio/flac", "application/x-7z-compressed"):
        foreign = GENUINE[foreign_type][0]
        assert foreign in own_files or find_mismatch(content_type, foreign) == foreign_type
    for foreign in (CSS_COMMENT, b"MZ is no program in a text", bytes(FIRST_BYTES)):
        assert find_mismatch(content_type, foreign) == UNKNOWN
    for name, program in PROGRAM_CASES:
        assert find_mismatch(content_type, program) == name
    assert find_mismatch(content_type, b"<script>alert(1)</script>") == MARKUP


@pytest.mark.parametrize("content_type", ["image/png", "application/pdf", "video/mp4", DOCX])
@given(st.binary(max_size=64))
def test_no_bytes_break_the_comparison(content_type: str, data: bytes) -> None:
    assert find_mismatch(content_type, data) != content_type
    assert find_mismatch(content_type, GENUINE[content_type][0][:30] + data) != content_type


@pytest.mark.parametrize(
    ("declared", "file", "found"),
    [
        (DOCX, _office(XLSX, "xl")[0], XLSX),
        (XLSX, _office(PPTX, "ppt")[1], PPTX),
        (PPTX, _streamed_zip("[Content_Types].xml", _list_of_parts(DOCX)), DOCX),
        (DOCX, _zip(("xl/workbook.xml", b"<workbook/>")), XLSX),
        (DOCX, _zip(("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")), "application/zip"),
        (DOCX, _open_document(ODT)[0], ODT),
        (ODT, _open_document("application/epub+zip")[0], "application/epub+zip"),
        ("application/epub+zip", _office(DOCX, "word")[0], DOCX),
        (ODT, _zip(("word/document.xml", b"<document/>")), DOCX),
        # A document with macros has another main part, and the type .docm.
        (
            DOCX,
            _zip(("[Content_Types].xml", _list_of_parts("application/vnd.ms-word.document.macroEnabled"))),
            "application/zip",
        ),
        ("application/msword", _office(DOCX, "word")[0], DOCX),
        (DOCX, RTF, "application/rtf"),
        ("application/vnd.ms-excel", b"a;b\n1;2\n", UNKNOWN),
        ("image/avif", GENUINE["image/heic"][0], "image/heic"),
        ("image/heic", GENUINE["video/mp4"][0], "video/mp4"),
        ("image/heic", GENUINE["image/jpeg"][0], "image/jpeg"),
        ("image/jpeg", IPHONE_PHOTO, "image/heic"),
        ("video/mp4", IPHONE_PHOTO[8:], "an unknown format"),
        ("image/bmp", b"BM is how this text begins, and it is no picture", UNKNOWN),
        ("audio/mpeg", b"\xff\xf1\x50\x80\x02\x1f\xfc", "audio/aac"),
        ("audio/mpeg", b"\xff\xfb\xf0\x64", UNKNOWN),
        ("application/json", TEXT, UNKNOWN),
        ("application/json", b"1,2\n", UNKNOWN),
        ("application/json", RTF, "application/rtf"),
        ("image/png", b'{"a": 1}', UNKNOWN),
        ("image/png", OLE, "application/msword"),
        ("video/mpeg", b"G" + TEXT * 20, UNKNOWN),
        ("text/vtt", b"WEBVTTX", UNKNOWN),
    ],
)
def test_near_misses_are_found_out_and_named(declared: str, file: bytes, found: str) -> None:
    assert find_mismatch(declared, file[:FIRST_BYTES]) == found


def test_a_packed_list_of_parts_costs_a_bounded_amount_of_memory() -> None:
    bomb = _zip(("[Content_Types].xml", bytes(50_000_000)))[:FIRST_BYTES]
    tracemalloc.start()
    try:
        assert find_mismatch(DOCX, bomb) is None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 500_000


def test_broken_compression_speaks_neither_for_nor_against_a_document() -> None:
    archive = bytearray(_zip(("[Content_Types].xml", _list_of_parts(XLSX))))
    archive[49:60] = b"\xff" * 11
    assert find_mismatch(DOCX, bytes(archive)) is None


# --- Markup -----------------------------------------------------------------------------------------------------------

TAGS = (
    *("html", "head", "script", "iframe", "h1", "div", "font", "table"),
    *("a", "style", "title", "b", "body", "br", "p", "svg"),
)
MARKUP_TEXTS = [
    "<!DOCTYPE html><html>",
    "<!doctype HTML>",
    "<!-- --><script>",
    "<!-->",
    "<?xml version='1.0'?><svg/>",
    "\n \t\x0c\r<HTML >",
    "<script>alert(1)</script>",
    "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'>",
    *(f"<{name}{end}" for tag in TAGS for name in (tag, tag.upper()) for end in (">", " x=y>", "\n>", "/>")),
]


def _encoded(text: str) -> list[bytes]:
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return [(mark + text).encode(encoding) for encoding in encodings for mark in ("", "\ufeff")]


@pytest.mark.parametrize("text", MARKUP_TEXTS)
def test_markup_that_browsers_would_run_hides_in_no_other_type(text: str) -> None:
    for content_type in ("text/plain", "text/csv", "application/octet-stream", "image/png", "video/mp4", "model/any"):
        assert [find_mismatch(content_type, markup) for markup in _encoded(text)] == [MARKUP] * 6


@pytest.mark.parametrize(
    "text",
    ["1 < 2 and <3", "a <html> b", "<notatag>", "<", "", "<alice@example.com> wrote:", "<Paul> hello", "<bold>", "<a"],
)
def test_text_that_is_no_markup_passes(text: str) -> None:
    assert [find_mismatch("text/plain", no_markup) for no_markup in _encoded(text)] == [None] * 6


def test_bytes_of_ascii_markup_with_others_between_are_no_markup() -> None:
    assert find_mismatch("text/plain", b"<xsxcxrxixpxtx>x") is None
    assert find_mismatch("text/plain", b"x<xsxcxrxixpxtx>") is None


def test_markup_is_what_an_active_type_holds() -> None:
    assert find_mismatch("image/svg+xml", b"<svg/>") is None
    assert find_mismatch("text/html;charset=utf-8", b"<!doctype html>") is None


def test_a_readme_in_markdown_may_begin_with_a_tag() -> None:
    assert find_mismatch("text/markdown;charset=utf-8", b'<h1 align="center">presign</h1>') is None


# --- Programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "program"), PROGRAM_CASES)
@pytest.mark.parametrize("content_type", [*sorted(WITHOUT_SIGNATURE), "text/html", "text/markdown"])
def test_a_program_hides_in_no_type_without_a_signature(content_type: str, name: str, program: bytes) -> None:
    assert find_mismatch(content_type, program) == name


@pytest.mark.parametrize(("name", "program"), PROGRAM_CASES)
@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-msdownload",
        "application/vnd.microsoft.portable-executable",
        "application/x-executable",
        "application/x-mach-binary",
        "application/java-vm",
        "application/x-sh",
        "text/x-python",
        "application/x-httpd-php",
        "text/javascript",
    ],
)
def test_a_program_is_what_a_type_for_programs_holds(content_type: str, name: str, program: bytes) -> None:
    assert find_mismatch(content_type, program) is None


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
@pytest.mark.parametrize(
    "file",
    [
        b"MZ,GB,FR\n" + b"1,2,3\r\n" * 20,
        b"MZ",
        b"MZ\n" + "übermäßig\t".encode() * 10 + b"\x1b",
        b" #!/bin/sh is how scripts begin",
        b"#![allow(dead_code)]\n",
        b"#!AMR\n\x3c",
        b"# a heading\n",
        b"<?",
        b"<?phi",
        b"ELF",
        b"\xca\xfe\xba\xbe",
        b"\xca\xfe\xba\xbe\0\0\0\0\0",
        b"\xca\xfe\xba\xbe text",
    ],
)
def test_a_file_that_only_looks_like_a_program_passes(content_type: str, file: bytes) -> None:
    assert find_mismatch(content_type, file) is None


# --- Types ------------------------------------------------------------------------------------------------------------


def test_parameters_and_capitals_of_a_type_are_no_way_around_its_signature() -> None:
    for content_type in ("IMAGE/PNG", "image/png; a=b", "image/png;a=b", " image/png "):
        assert find_mismatch(content_type, GENUINE["image/gif"][0]) == "image/gif"


def test_the_end_of_the_first_bytes_says_nothing_about_a_type() -> None:
    # A file of MPEG video ends with this code, and puts nothing like it at its beginning.
    assert find_mismatch("video/mpeg", TEXT + b"\0\0\x01\xb7") == UNKNOWN


@pytest.mark.parametrize("content_type", sorted(VERIFIED_TYPES))
def test_no_file_takes_long_to_look_at(content_type: str) -> None:
    files = (
        b" " * 4095 + b"x",
        b"1" * 4095 + b"x",
        b" 1" * 2048,
        b"\0" * 4096,
        b"MZ" * 2048,
        b"\0\0\x10\0ftyp" + b"mif1" * 1022,
    )
    for file in files:
        seconds = min(repeat(partial(find_mismatch, content_type, file), number=1, repeat=5))
        assert seconds < 0.02, file[:2]


def test_an_empty_file_shows_no_signature() -> None:
    assert find_mismatch("image/png", b"") == UNKNOWN


def test_the_page_about_types_names_every_verified_format() -> None:
    named = set(re.findall(r"`([a-z]+/[a-z0-9.+-]+)`", TYPES.read_text().partition("\n\nTypes without")[0]))
    assert named <= VERIFIED_TYPES
    assert {name for name in GENUINE if not name.startswith("application/vnd.o")} <= named
