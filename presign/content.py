"""Content: whether an object's first bytes fit its media type."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from presign.media_types import is_active

FIRST_BYTES = 4096
"""How many of an object's first bytes ``find_mismatch`` needs: the list of an Office document's parts fits in them."""

MARKUP = "markup (html, svg or xml)"
"""What ``find_mismatch`` calls a document in which browsers run scripts."""


def find_mismatch(content_type: str, first_bytes: bytes) -> str | None:
    """Return the format that ``first_bytes`` have instead of ``content_type``, or None if the two fit.

    For a type in ``VERIFIED_TYPES``, the first bytes must be possible in a file of that type. For any other type, all
    bytes fit, with two exceptions: markup in which browsers run scripts, unless ``content_type`` is a type for markup;
    and programs and scripts (Windows, Linux, macOS, Java, ``#!``, PHP), unless ``content_type`` is a type for programs.
    ``application/octet-stream`` is not a type for programs: an application that wants them allows their own types, or
    turns the comparison off with ``UploadPolicy(verify_content=False)``.

    ``first_bytes`` are the first ``FIRST_BYTES`` bytes of the object, or all bytes of a shorter one.
    """
    declared = content_type.partition(";")[0].strip().lower()
    if _MARKUP.match(first_bytes) and declared not in _TYPES_WITH_MARKUP and not is_active(declared):
        return MARKUP
    if (program := _PROGRAM.match(first_bytes)) and declared not in _TYPES_OF_PROGRAMS:
        return _PROGRAM_NAMES[str(program.lastgroup)]
    file_format = _FORMATS_BY_TYPE.get(declared)
    if file_format is None or file_format.has(first_bytes) is not False:
        return None
    return next((other.types[0] for other in _FORMATS if other.has(first_bytes)), "an unknown format")


# --- Markup -----------------------------------------------------------------------------------------------------------

# A browser that must guess a type looks for these after white space, and then runs the scripts in the document (WHATWG
# MIME Sniffing, section 7.1; svg is added). A file that claims another type must therefore not begin with one of them.
# Chromium needs no byte after the name. Short names need one here, because a text may begin with <alice@example.com>.
_MARKUP_BEGINNINGS = ("!doctype", "html", "head", "script", "iframe", "body", "svg", "?xml", "!--")
_MARKUP_TAGS = ("h1", "div", "font", "table", "a", "style", "title", "b", "br", "p")
_WHITE_SPACE = "\t\n\x0c\r "
_TAG_END = "\t\n\x0c\r />"


def _markup_pattern(encoding: str, byte_order_mark: bytes) -> bytes:
    """Return the pattern of markup in one encoding, with or without its byte order mark."""

    def text(characters: str) -> bytes:
        return re.escape(characters.encode(encoding))

    def any_of(choices: tuple[str, ...] | str) -> bytes:
        return b"(?:" + b"|".join(text(choice) for choice in choices) + b")"

    tag = any_of(_MARKUP_BEGINNINGS) + b"|" + any_of(_MARKUP_TAGS) + any_of(_TAG_END)
    return b"(?:" + re.escape(byte_order_mark) + b")?" + any_of(_WHITE_SPACE) + b"*" + text("<") + b"(?:" + tag + b")"


_MARKUP = re.compile(
    b"|".join(
        (
            _markup_pattern("ascii", b"\xef\xbb\xbf"),
            _markup_pattern("utf-16-le", b"\xff\xfe"),
            _markup_pattern("utf-16-be", b"\xfe\xff"),
        )
    ),
    re.IGNORECASE,
)
# Markdown may contain HTML (CommonMark section 4.6), so many READMEs begin with a tag. No browser renders the type.
_TYPES_WITH_MARKUP = frozenset({"text/markdown", "text/x-markdown"})

# --- Programs ---------------------------------------------------------------------------------------------------------

# A text may begin with "MZ", but has no control characters; the header of a program for Windows always has some.
# 0xCAFEBABE begins Java classes (version 45 or higher) and Mach-O files for several processors (fewer than 45).
# "#!AMR" begins an audio file, and "#![" an attribute in Rust. A kernel needs "#!" at the very beginning; a shell also
# accepts it after a byte order mark. PHP runs wherever its tag is.
_PROGRAM = re.compile(
    rb"(?P<pe>MZ[^\0-\x08\x0b\x0e-\x1a\x1c-\x1f]{0,61}[\0-\x08\x0b\x0e-\x1a\x1c-\x1f])"
    rb"|(?P<elf>\x7fELF)"
    rb"|(?P<macho>\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba[\xbe\xbf]\0\0\0[\x01-\x2c])"
    rb"|(?P<java>\xca\xfe\xba\xbe..\0[\x2d-\xff])"
    rb"|(?P<script>(?:\xef\xbb\xbf)?#!(?!AMR|\[))"
    rb"|(?P<php>(?:\xef\xbb\xbf)?[\t\n\x0b\x0c\r ]*<\?(?:(?i:php)|=))",
    re.DOTALL,
)
_PROGRAM_NAMES = {
    "pe": "a program for Windows",
    "elf": "a program for Linux (ELF)",
    "macho": "a program for macOS (Mach-O)",
    "java": "a Java class",
    "script": "a script (#!)",
    "php": "a PHP script",
}
_TYPES_OF_PROGRAMS = frozenset(
    f"{top_level}/{prefix}{name}"
    for top_level in ("application", "text")
    for prefix in ("", "x-")
    for name in (
        *("msdownload", "msdos-program", "ms-dos-executable", "dosexec", "exe", "winexe"),
        *("vnd.microsoft.portable-executable", "executable", "elf", "pie-executable", "sharedlib", "object"),
        "coredump",
        *("mach-binary", "mach-o", "mach-o-executable", "java", "java-vm", "java-class", "java-applet"),
        *("sh", "bash", "csh", "ksh", "zsh", "fish", "shellscript", "script", "script.sh", "script.python", "awk"),
        *("perl", "python", "python-code", "python-script", "ruby", "lua", "tcl", "typescript", "groovy", "r", "rust"),
        *("php", "httpd-php", "httpd-php-source", "javascript", "ecmascript"),
    )
)

# --- Formats ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Format:
    """A format: its media types, the registered or usual one first, and how to tell it from a file's first bytes.

    ``has`` answers True if the bytes are this format, None if they may be, and False only if no well-formed file of
    the format begins with them.
    """

    types: tuple[str, ...]
    has: Callable[[bytes], bool | None]


def _begins(*types: str, with_: bytes) -> _Format:
    match = re.compile(with_, re.DOTALL).match
    return _Format(types=types, has=lambda first_bytes: match(first_bytes) is not None)


def _brands(first_bytes: bytes) -> frozenset[bytes]:
    """Return the brands in a file type box, which every file of the ISO base media family begins with."""
    if first_bytes[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(first_bytes[:4], "big"), len(first_bytes))
    return frozenset(first_bytes[at : at + 4] for at in (8, *range(16, end - 3, 4)))


def _has_brand(*types: str, brands: frozenset[bytes]) -> _Format:
    return _Format(types=types, has=lambda first_bytes: not brands.isdisjoint(_brands(first_bytes)))


_LOCAL_FILE_HEADER = re.compile(
    rb"PK\x03\x04.{4}(?P<method>..).{8}(?P<packed_bytes>.{4}).{4}(?P<name_bytes>..)(?P<extra_bytes>..)", re.DOTALL
)
_STORED, _DEFLATED = 0, 8
_MAX_UNPACKED_BYTES = 65536


def _first_member(first_bytes: bytes) -> tuple[bytes, bytes, bool] | None:
    """Return the name and the content of a ZIP archive's first member, and whether the content is complete."""
    header = _LOCAL_FILE_HEADER.match(first_bytes)
    if header is None:
        return None
    number = {name: int.from_bytes(value, "little") for name, value in header.groupdict().items()}
    name_end = header.end() + number["name_bytes"]
    data = first_bytes[name_end + number["extra_bytes"] :]
    name = first_bytes[header.end() : name_end]
    if number["method"] == _STORED:
        content = data[: number["packed_bytes"]]
        return name, content, 0 < len(content) == number["packed_bytes"]
    if number["method"] == _DEFLATED:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(data, _MAX_UNPACKED_BYTES)
        except zlib.error:
            return name, b"", False
        return name, content, inflater.eof
    return name, b"", False


def _office(content_type: str, *, folder: bytes, main_part: bytes) -> _Format:
    """Return a format of Office Open XML: a ZIP archive whose members may come in any order and have any names.

    The first member therefore decides only where it says what the document is. Office's own documents begin with the
    list of their parts' types. A document with a password is an OLE file, which has the archive inside, encrypted.
    """
    foreign_folders = tuple({*_OFFICE_FOLDERS, b"META-INF/"} - {folder})

    def has(first_bytes: bytes) -> bool | None:
        if first_bytes.startswith(_OLE):
            return None
        member = _first_member(first_bytes)
        if member is None:
            return False
        name, content, complete = member
        if name == _LIST_OF_PARTS and complete and not content.startswith(_UTF_16_MARKS):
            return main_part in content.lower()
        if name == b"mimetype" or name.startswith(foreign_folders):
            return False
        return True if name.startswith(folder) else None

    return _Format(types=(content_type,), has=has)


def _with_mimetype(content_type: str) -> _Format:
    """Return a format of OpenDocument or EPUB: a ZIP archive whose first member, ``mimetype``, contains the type.

    OpenDocument leaves this member optional, so its absence says nothing.
    """

    def has(first_bytes: bytes) -> bool | None:
        member = _first_member(first_bytes)
        if member is None:
            return False
        name, content, complete = member
        if name == b"mimetype":
            return content.strip() == content_type.encode() if complete else None
        return False if name == _LIST_OF_PARTS or name.startswith(_OFFICE_FOLDERS) else None

    return _Format(types=(content_type,), has=has)


_LIST_OF_PARTS = b"[Content_Types].xml"
_OFFICE_FOLDERS = (b"word/", b"xl/", b"ppt/")
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RTF = rb"(?:\xef\xbb\xbf)?[\t\n\x0c\r ]*\{\\rtf"
_ID3 = rb"ID3[\x02-\x04]"
# A QuickTime or MPEG-4 file may have no file type box, because it is older than this box or a segment of a stream. It
# then begins with one of these boxes.
_OTHER_BOXES = b"styp|sidx|moof|moov|mdat|free|skip|wide|pnot|uuid|udta|meta|junk|emsg|prft|pdin|PICT"
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"})
_OTHER_HEIF_BRANDS = frozenset({b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki", b"j2is", b"unif", b"vvic", b"vvis"})
# The synchronisation word of MPEG audio: a version and a layer that exist.
_FRAME = rb"\xff(?:[\xe2-\xe7]|[\xf2-\xf7]|[\xfa-\xff])[^\xf0-\xff]"
_OPENXML = "application/vnd.openxmlformats-officedocument"

# A mismatch is reported as the first format that fits, so a special format stands before a more general one.
_FORMATS = (
    # Images
    _begins("image/png", "image/apng", "image/x-png", with_=rb"\x89PNG\r\n\x1a\n"),
    _begins("image/jpeg", "image/jpg", "image/pjpeg", with_=rb"\xff\xd8\xff"),
    _begins("image/gif", with_=rb"GIF8[79]a"),
    _begins("image/webp", with_=rb"RIFF.{4}WEBPVP8"),
    _has_brand("image/avif", brands=_AVIF_BRANDS),
    _has_brand("image/heic", "image/heic-sequence", brands=_HEIC_BRANDS | _HEIF_BRANDS),
    _has_brand(
        "image/heif", "image/heif-sequence", brands=_HEIF_BRANDS | _HEIC_BRANDS | _AVIF_BRANDS | _OTHER_HEIF_BRANDS
    ),
    _begins("image/jxl", with_=rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    _begins("image/jp2", with_=rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _begins("image/bmp", "image/x-ms-bmp", "image/x-bmp", with_=rb"BM.{12}[\x0c-\x7c]\0\0\0"),
    _begins("image/tiff", with_=rb"II[*+]\0|MM\0[*+]"),
    _begins("image/vnd.microsoft.icon", "image/x-icon", with_=rb"\0\0[\x01\x02]\0"),
    _begins("image/vnd.adobe.photoshop", "image/x-photoshop", "application/x-photoshop", with_=rb"8BPS\0[\x01\x02]"),
    # Audio and video
    _begins("audio/wav", "audio/wave", "audio/x-wav", "audio/vnd.wave", with_=rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE"),
    _begins("audio/aiff", "audio/x-aiff", with_=rb"FORM.{4}AIF[FC]"),
    _begins("audio/mpeg", "audio/mp3", "audio/x-mp3", "audio/mpeg3", with_=_ID3 + rb"|APETAGEX|\0*" + _FRAME),
    _begins("audio/flac", "audio/x-flac", with_=rb"fLaC|" + _ID3),
    _begins("audio/aac", "audio/x-aac", with_=rb"ADIF|\xff[\xf0\xf1\xf8\xf9]|" + _ID3),
    _begins("audio/midi", "audio/x-midi", "audio/mid", with_=rb"MThd|RIFF.{4}RMID"),
    _begins("audio/amr", "audio/amr-wb", with_=rb"#!AMR(?:-WB)?(?:_MC1\.0)?\n"),
    _begins("audio/ogg", "video/ogg", "application/ogg", with_=rb"OggS\0"),
    _begins(
        *("video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska", "video/matroska", "audio/matroska"),
        with_=rb"\x1a\x45\xdf\xa3",
    ),
    _begins(
        *("video/mp4", "audio/mp4", "application/mp4", "video/x-m4v", "audio/x-m4a", "audio/m4a"),
        *("video/quicktime", "video/3gpp", "audio/3gpp", "video/3gpp2", "audio/3gpp2"),
        with_=rb".{4}(?:ftyp|" + _OTHER_BOXES + rb")",
    ),
    _begins("video/x-msvideo", "video/avi", "video/msvideo", "video/vnd.avi", with_=rb"RIFF.{4}AVI "),
    _begins(
        *("video/x-ms-wmv", "video/x-ms-asf", "audio/x-ms-wma"),
        with_=rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c",
    ),
    _begins("video/x-flv", with_=rb"FLV\x01"),
    _begins("video/mpeg", "video/x-mpeg", with_=rb"\0*\0\0\x01[\xb0-\xff]|G.{187}G"),
    # Documents
    _begins("application/pdf", "application/x-pdf", with_=rb"(?:\xef\xbb\xbf)?[\0\t\n\x0c\r ]*%PDF-"),
    _begins("application/rtf", "text/rtf", "application/x-rtf", with_=_RTF),
    _office(f"{_OPENXML}.wordprocessingml.document", folder=b"word/", main_part=b"wordprocessingml.document.main+xml"),
    _office(f"{_OPENXML}.spreadsheetml.sheet", folder=b"xl/", main_part=b"spreadsheetml.sheet.main+xml"),
    _office(
        f"{_OPENXML}.presentationml.presentation", folder=b"ppt/", main_part=b"presentationml.presentation.main+xml"
    ),
    # Word before version 6 and Excel before version 5 wrote no OLE files. On Windows, RTF files may have the type
    # application/msword.
    _begins(
        "application/msword",
        with_=re.escape(_OLE) + rb"|\xdb\xa5|\x9b\xa5|1\xbe\0\0|\xfe7\0[\x1c\x23]|" + _RTF,
    ),
    _begins(
        *("application/vnd.ms-excel", "application/msexcel"),
        with_=re.escape(_OLE) + rb"|\x09[\0\x02\x04][\x04\x06]\0",
    ),
    _begins("application/vnd.ms-powerpoint", "application/mspowerpoint", with_=re.escape(_OLE) + rb"|\xed\xde\xad\x0b"),
    *(
        _with_mimetype(f"application/{name}")
        for name in (
            "vnd.oasis.opendocument.text",
            "vnd.oasis.opendocument.spreadsheet",
            "vnd.oasis.opendocument.presentation",
            "vnd.oasis.opendocument.graphics",
            "epub+zip",
        )
    ),
    _begins("text/vtt", with_=rb"(?:\xef\xbb\xbf)?WEBVTT(?:[\t\n\r ]|\Z)"),
    # Fonts
    _begins("font/woff", "application/font-woff", "application/x-font-woff", with_=rb"wOFF"),
    _begins("font/woff2", "application/font-woff2", with_=rb"wOF2"),
    _begins(
        *("font/ttf", "font/otf", "font/sfnt", "font/collection", "application/x-font-ttf", "application/x-font-otf"),
        with_=rb"\0\x01\0\0|OTTO|true|typ1|ttcf",
    ),
    # Archives, and other data
    _begins(
        *("application/zip", "application/x-zip-compressed"),
        with_=rb"PK(?:\x03\x04|\x05\x06|\x07\x08|\x06\x08|00PK)",
    ),
    _begins("application/gzip", "application/x-gzip", with_=rb"\x1f\x8b"),
    _begins("application/x-bzip2", "application/x-bzip", with_=rb"BZh[1-9]"),
    _begins("application/x-xz", with_=rb"\xfd7zXZ\0"),
    _begins("application/zstd", with_=rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    _begins("application/x-7z-compressed", with_=rb"7z\xbc\xaf\x27\x1c"),
    _begins("application/vnd.rar", "application/x-rar-compressed", "application/x-rar", with_=rb"Rar!\x1a\x07|RE~\^"),
    _begins("application/vnd.sqlite3", "application/x-sqlite3", with_=rb"SQLite format 3\0"),
    _begins("application/wasm", with_=rb"\0asm"),
    _begins("application/vnd.apache.parquet", with_=rb"PAR[1E]"),
)
# Many other texts begin like JSON, so first bytes can only show that a file is not JSON. On Windows it may be UTF-16.
_MAYBE_JSON = re.compile(
    rb"\xff\xfe|\xfe\xff|(?:\xef\xbb\xbf)?[\t\n\r ]*"
    rb'(?:\{[\t\n\r ]*(?:["}]|\Z)|["\[]|\Z|(?:-?[0-9][0-9.eE+-]*|true|false|null)[\t\n\r ]*\Z)'
)
_JSON = _Format(types=("application/json",), has=lambda first_bytes: None if _MAYBE_JSON.match(first_bytes) else False)
_FORMATS_BY_TYPE = {name: file_format for file_format in (*_FORMATS, _JSON) for name in file_format.types}

VERIFIED_TYPES = frozenset(_FORMATS_BY_TYPE)
"""The types whose possible first bytes are known. No well-formed file of such a type is a mismatch."""
