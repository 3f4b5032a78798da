from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from presign.content import VERIFIED_TYPES
from presign.media_types import extension_of, fit_extension, is_active, is_media_type

EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tiff",
    "image/x-icon": ".ico",
    "image/svg+xml": ".svg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/mpeg": ".mpeg",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/javascript": ".js",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.oasis.opendocument.text": ".odt",
    "font/woff2": ".woff2",
}
UNKNOWN = ["application/octet-stream", "application/x-made-up", "image/*", "nonsense", ""]
NAMES = st.text(min_size=1, max_size=255)


@pytest.mark.parametrize("value", ["image/png", "text/plain;charset=utf-8", "text/plain; charset=utf-8", "a/b"])
def test_an_exact_media_type_is_one(value: str) -> None:
    assert is_media_type(value)


@pytest.mark.parametrize("value", ["", "png", "*/*", "image/*", "a/b;c", "a/b, c/d", "a/b\n", "a b/c"])
def test_anything_else_is_none(value: str) -> None:
    assert not is_media_type(value)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "TEXT/HTML",
        "text/html;charset=utf-8",
        "image/svg+xml",
        "application/xml",
        "text/xsl",
        "application/javascript",
        "multipart/x-mixed-replace",
        "application/unknown",
        "unknown/unknown",
        "Application/Unknown;a=b",
        "*/*",
        " */* ",
    ],
)
def test_types_in_which_browsers_run_scripts_are_active(content_type: str) -> None:
    assert is_active(content_type)


@pytest.mark.parametrize("content_type", ["image/png", "text/plain", "application/octet-stream", "application/json"])
def test_types_in_which_browsers_run_no_scripts_are_not(content_type: str) -> None:
    assert not is_active(content_type)


@pytest.mark.parametrize(("content_type", "extension"), sorted(EXTENSIONS.items()))
def test_a_known_type_has_a_usual_extension(content_type: str, extension: str) -> None:
    assert extension_of(content_type) == extension
    assert extension_of(f"{content_type.upper()}; a=b") == extension


def test_every_verified_type_has_an_extension() -> None:
    assert not {name for name in VERIFIED_TYPES if not extension_of(name)}


@pytest.mark.parametrize("content_type", UNKNOWN)
def test_an_unknown_type_has_no_extension_and_leaves_a_name_unchanged(content_type: str) -> None:
    assert extension_of(content_type) == ""
    assert fit_extension("cat.html", content_type) == "cat.html"


def test_the_machine_s_own_types_change_no_extension() -> None:
    script = (
        "import mimetypes; [mimetypes.add_type(t, '.exe') for t in ('image/png', 'application/x-made-up')]\n"
        "from presign.media_types import extension_of as of; print(of('image/png'), [of('application/x-made-up')])\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, cwd=os.getcwd())
    assert answer.stdout == ".png ['']\n"


@pytest.mark.parametrize(
    ("name", "content_type", "fitting"),
    [
        ("cat.png", "image/png", "cat.png"),
        ("cat.PNG", "image/png", "cat.PNG"),
        (".png", "image/png", ".png"),
        ("cat.jpeg", "image/jpeg", "cat.jpeg"),
        ("cat.JPG", "image/jpeg", "cat.JPG"),
        ("cat.jpg", "IMAGE/JPEG;a=b", "cat.jpg"),
        ("cat.html", "image/png", "cat.html.png"),
        ("cat.png.html", "image/png", "cat.png.html.png"),
        ("cat.png.", "image/png", "cat.png..png"),
        ("cat.png ", "image/png", "cat.png .png"),
        ("cat", "image/png", "cat.png"),
        ("png", "image/png", "png.png"),
        ("version 1.2", "text/plain", "version 1.2.txt"),
        ("server.log", "text/plain", "server.log"),
        ("run.bat", "text/plain", "run.bat.txt"),
        ("film.m\N{KELVIN SIGN}v", "video/x-matroska", "film.m\N{KELVIN SIGN}v.mkv"),
        ("ÄÖÜ.Png", "image/png", "ÄÖÜ.Png"),
        ("x" * 255, "image/png", "x" * 251 + ".png"),
        ("x" * 251, "image/png", "x" * 251 + ".png"),
        ("x" * 251 + ".png", "image/png", "x" * 251 + ".png"),
    ],
)
def test_a_name_gets_an_extension_that_fits_its_type(name: str, content_type: str, fitting: str) -> None:
    assert fit_extension(name, content_type) == fitting


@given(NAMES, st.sampled_from([*EXTENSIONS, *UNKNOWN]))
@example("x" * 255, "image/jpeg")
@example("x" * 250 + ".html", "image/jpeg")
def test_a_fitting_name_keeps_its_text_and_its_length_and_is_final(name: str, content_type: str) -> None:
    fitting = fit_extension(name, content_type)
    extension = extension_of(content_type)
    assert len(fitting) <= 255
    assert fit_extension(fitting, content_type) == fitting
    if fitting != name:
        assert fitting == name[: 255 - len(extension)] + extension


@given(NAMES, st.sampled_from(["html", "svg", "exe", "js", "php", "HTM"]), st.sampled_from(sorted(VERIFIED_TYPES)))
def test_no_name_for_a_verified_type_keeps_an_active_extension(name: str, active: str, content_type: str) -> None:
    assert not fit_extension(f"{name[:200]}.{active}", content_type).endswith(f".{active}")
