"""Media types: which texts are one, which types run scripts, and which extensions fit a type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # noqa: S105  (the grammar's word, RFC 6838 section 4.2)
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:; ?{_TOKEN}={_TOKEN})?", re.ASCII)
# A browser runs scripts in these when it opens them from the bucket's own address (stored cross-site scripting).
_ACTIVE_SUBTYPE = re.compile(r"(?:.*\+)?xml|html|xsl|(?:x-)?(?:java|ecma|live|j|vb)script.*|x-mixed-replace", re.ASCII)
# Names of types that say that the type is unknown. A browser then guesses it, and runs the scripts in what it takes for
# html (WHATWG MIME Sniffing, section 7; Chromium's net/base/mime_sniffer.cc).
_UNKNOWN_TYPES = frozenset({"application/unknown", "unknown/unknown", "*/*"})


# Every request names a type, and an application allows few. Without the cache, a request takes a third more time.
@lru_cache(maxsize=64)
def is_media_type(value: str) -> bool:
    """Say whether ``value`` is one exact media type, with at most one parameter (RFC 9110 section 8.3.1)."""
    return _MEDIA_TYPE.fullmatch(value) is not None


def is_active(content_type: str) -> bool:
    """Say whether browsers may run scripts in a document of this type.

    They do in html, svg, xml, javascript and the like, and where the type says that it is unknown, such as ``*/*``.
    """
    essence = content_type.lower().partition(";")[0].strip()
    return essence in _UNKNOWN_TYPES or _ACTIVE_SUBTYPE.fullmatch(essence.partition("/")[2]) is not None


def extension_of(content_type: str) -> str:
    """Return the usual extension of a file of this type, with its dot: ``.png`` for ``image/png``.

    The answer is "" for a type that has none here. ``application/octet-stream`` has none, because it says nothing about
    a file. The answer depends neither on the machine nor on Python's version, as those of ``mimetypes`` do.
    """
    return _extensions(content_type)[0]


def fit_extension(name: str, content_type: str) -> str:
    """Return ``name`` with an extension that fits ``content_type``, so that no system opens the file as another type.

    A name whose extension fits stays as it is, in capitals too: ``cat.JPG`` is a name for ``image/jpeg``. Otherwise the
    usual extension is added: ``cat.html`` becomes ``cat.html.png`` for ``image/png``. Nothing of the name is lost,
    because what follows the last dot may be a part of it, as in ``version 1.2``. Only where the name would become
    longer than 255 characters, its end makes room for the extension. A type without an extension leaves every name
    unchanged.
    """
    extensions = _extensions(content_type)
    _, dot, extension = name.rpartition(".")
    # The Kelvin sign becomes "k" in lower case, and no system takes it for one.
    if not extensions[0] or (extension.isascii() and dot + extension.lower() in extensions):
        return name
    return name[: _MAX_NAME_CHARACTERS - len(extensions[0])] + extensions[0]


def _extensions(content_type: str) -> tuple[str, ...]:
    return _EXTENSIONS.get(content_type.lower().partition(";")[0].strip(), ("",))


_MAX_NAME_CHARACTERS = 255
_OPENDOCUMENT = "application/vnd.oasis.opendocument"
_OPENXML = "application/vnd.openxmlformats-officedocument"
# The usual extension of each type first, then the others that systems open as the same type.
_EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    content_type: tuple(f".{extension}" for extension in extensions.split())
    for content_types, extensions in (
        ("image/png image/x-png", "png"),
        ("image/apng", "apng png"),
        ("image/jpeg image/jpg image/pjpeg", "jpg jpeg jpe jfif"),
        ("image/gif", "gif"),
        ("image/webp", "webp"),
        ("image/avif", "avif avifs"),
        ("image/heic image/heic-sequence", "heic heics heif hif"),
        ("image/heif image/heif-sequence", "heif heifs heic hif"),
        ("image/jxl", "jxl"),
        ("image/jp2", "jp2"),
        ("image/bmp image/x-ms-bmp image/x-bmp", "bmp dib"),
        ("image/tiff", "tiff tif"),
        ("image/vnd.microsoft.icon image/x-icon", "ico"),
        ("image/vnd.adobe.photoshop image/x-photoshop application/x-photoshop", "psd"),
        ("image/svg+xml", "svg"),
        ("audio/wav audio/wave audio/x-wav audio/vnd.wave", "wav"),
        ("audio/aiff audio/x-aiff", "aiff aif aifc"),
        ("audio/flac audio/x-flac", "flac"),
        ("audio/aac audio/x-aac", "aac"),
        ("audio/mpeg audio/mp3 audio/x-mp3 audio/mpeg3", "mp3 mpga mp2"),
        ("audio/mp4 audio/x-m4a audio/m4a", "m4a mp4"),
        ("audio/midi audio/x-midi audio/mid", "mid midi"),
        ("audio/amr", "amr"),
        ("audio/amr-wb", "awb"),
        ("audio/ogg", "ogg oga opus spx"),
        ("video/ogg", "ogv ogg"),
        ("application/ogg", "ogx ogg"),
        ("audio/webm", "weba webm"),
        ("video/webm", "webm"),
        ("video/x-matroska video/matroska", "mkv"),
        ("audio/x-matroska audio/matroska", "mka"),
        ("video/mp4 application/mp4", "mp4 m4v"),
        ("video/x-m4v", "m4v mp4"),
        ("video/quicktime", "mov qt"),
        ("video/3gpp audio/3gpp", "3gp 3gpp"),
        ("video/3gpp2 audio/3gpp2", "3g2 3gpp2"),
        ("video/x-msvideo video/avi video/msvideo video/vnd.avi", "avi"),
        ("video/x-ms-wmv", "wmv"),
        ("video/x-ms-asf", "asf wmv"),
        ("audio/x-ms-wma", "wma"),
        ("video/x-flv", "flv"),
        ("video/mpeg video/x-mpeg", "mpeg mpg mpe m1v m2v"),
        ("application/pdf application/x-pdf", "pdf"),
        ("application/rtf text/rtf application/x-rtf", "rtf"),
        (f"{_OPENXML}.wordprocessingml.document", "docx"),
        (f"{_OPENXML}.spreadsheetml.sheet", "xlsx"),
        (f"{_OPENXML}.presentationml.presentation", "pptx"),
        ("application/msword", "doc dot"),
        ("application/vnd.ms-excel application/msexcel", "xls xlt"),
        ("application/vnd.ms-powerpoint application/mspowerpoint", "ppt pps pot"),
        (f"{_OPENDOCUMENT}.text", "odt"),
        (f"{_OPENDOCUMENT}.spreadsheet", "ods"),
        (f"{_OPENDOCUMENT}.presentation", "odp"),
        (f"{_OPENDOCUMENT}.graphics", "odg"),
        ("application/epub+zip", "epub"),
        ("text/plain", "txt text log"),
        ("text/csv", "csv"),
        ("text/tab-separated-values", "tsv"),
        ("text/markdown text/x-markdown", "md markdown"),
        ("text/calendar", "ics"),
        ("text/vcard", "vcf"),
        ("text/vtt", "vtt"),
        ("text/css", "css"),
        ("text/html", "html htm"),
        ("application/xhtml+xml", "xhtml xht"),
        ("application/xml text/xml", "xml"),
        ("text/javascript application/javascript", "js mjs"),
        ("application/json", "json"),
        ("application/geo+json", "geojson json"),
        ("application/ld+json", "jsonld json"),
        ("application/yaml", "yaml yml"),
        ("font/woff application/font-woff application/x-font-woff", "woff"),
        ("font/woff2 application/font-woff2", "woff2"),
        ("font/ttf application/x-font-ttf", "ttf"),
        ("font/otf application/x-font-otf", "otf"),
        ("font/sfnt", "ttf otf"),
        ("font/collection", "ttc otc"),
        ("application/zip application/x-zip-compressed", "zip"),
        ("application/gzip application/x-gzip", "gz tgz"),
        ("application/x-bzip2 application/x-bzip", "bz2"),
        ("application/x-xz", "xz"),
        ("application/zstd", "zst"),
        ("application/x-7z-compressed", "7z"),
        ("application/vnd.rar application/x-rar-compressed application/x-rar", "rar"),
        ("application/x-tar", "tar"),
        ("application/vnd.sqlite3 application/x-sqlite3", "sqlite sqlite3 db"),
        ("application/wasm", "wasm"),
        ("application/vnd.apache.parquet", "parquet"),
    )
    for content_type in content_types.split()
}
