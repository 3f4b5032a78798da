"""Uppy 5 and 6, FilePond and Dropzone in Chromium, on the pages of examples/browser, with a real server and storage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import Depends, FastAPI, Request
from playwright.sync_api import FilePayload, Page, expect
from starlette.staticfiles import StaticFiles

from demo_server.settings import StorageName
from demo_server.storages.local_storage import PUBLIC_PREFIX
from demo_server.storages.run import run_local_storage
from emulators.page_bundles import UPPY_5, UPPY_6
from emulators.serving import serve
from presign import (
    Accept,
    Backend,
    Completion,
    InspectedObject,
    Presigner,
    Reject,
    StoredObject,
    Unauthenticated,
    UploadPolicy,
    open_backend,
)
from presign.fastapi import completed_upload, create_router
from tests.browser.bundling import bundle
from tests.browser.origins import allowed_by
from tests.conftest import TOKEN_SECRET, Store

pytestmark = pytest.mark.browser

UPLOAD_BYTES_PER_SECOND = 200_000
MAX_BYTES = 2_000_000
PARTS_FROM_BYTES = 6 * 1024 * 1024
LARGE_BYTES = 11 * 1024 * 1024
REASON = "'type' must be one of image/png"
REASON_OF_CLIENT = "Choose a file of another type: PNG."
VERDICT = "the picture is too dark"


def _file(name: str, content: bytes, media_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": content}


def _user(request: Request) -> str:
    if "user" not in request.cookies:
        raise Unauthenticated("sign in to upload")
    return request.cookies["user"]


def _inspect(uploaded: InspectedObject) -> Accept | Reject:
    return Reject(VERDICT) if uploaded.name == "dark.png" else Accept()


@dataclass(frozen=True, kw_only=True)
class Site:
    """The pages and the server; ``completed`` has what the server told the application."""

    url: str
    store: Store
    completed: list[Completion]

    def keys(self) -> set[str]:
        """The keys of all objects, pending ones included."""
        found = self.store.admin.list_objects_v2(Bucket=self.store.bucket)
        return {each["Key"] for each in found.get("Contents", [])}

    def read(self, key: str) -> bytes:
        content: bytes = self.store.admin.get_object(Bucket=self.store.bucket, Key=key)["Body"].read()
        return content


@dataclass(frozen=True, kw_only=True)
class Uploader:
    """One page: where its parts are in the document. ``progress`` is a script that returns a percentage."""

    path: str
    file_input: str
    progress: str
    cancel: str
    results: str
    reason: str = REASON


def _uppy(path: str, **changes: str) -> Uploader:
    return Uploader(
        path=path,
        file_input="#files",
        progress="document.querySelector('progress').value",
        cancel="#cancel",
        results="#results",
        **changes,
    )


UPLOADERS = {
    "uppy 6": _uppy("newest/uppy.html"),
    "uppy 5": _uppy("uppy5/uppy.html"),
    # Uppy 6 does not read the answer to a refused request in this mode, and shows the name of the status.
    "uppy 6, companion": _uppy("newest/uppy_companion.html", reason="Companion request failed: Unsupported Media Type"),
    "uppy 5, companion": _uppy("uppy5/uppy_companion.html"),
    "filepond": Uploader(
        path="newest/filepond.html",
        file_input="#pictures input[type=file]",
        progress="parseFloat(document.querySelector('#pictures .filepond--file-status-main')?.textContent.slice(10))",
        cancel="#pictures .filepond--action-abort-item-processing",
        results="#pictures",
        reason=REASON_OF_CLIENT,
    ),
    "dropzone": Uploader(
        path="newest/dropzone.html",
        file_input=".dz-hidden-input",
        progress="parseFloat(document.querySelector('[data-dz-uploadprogress]').style.width)",
        cancel=".dz-remove",
        results="#pictures",
        reason=REASON_OF_CLIENT,
    ),
}


IN_PARTS = ["uppy 6, companion", "uppy 5, companion"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    bundle(["uppy", "uppy_companion", "filepond", "dropzone"], directory / "newest", packages=UPPY_6)
    bundle(["uppy", "uppy_companion"], directory / "uppy5", packages=UPPY_5)
    return directory


@pytest.fixture(scope="module")
def site(pages: Path, seaweedfs: Store) -> Iterator[Site]:
    completed: list[Completion] = []
    app = FastAPI()
    for prefix, method in (("/put", "put"), ("/files", "post")):
        presigner = _presigner(seaweedfs.backend(upload_method=method), completed)
        app.include_router(create_router(presigner, authorize=_user, companion=True), prefix=prefix)
    completed_avatar: Any = Depends(completed_upload(presigner, authorize=_user, field="avatar", form=True))

    @app.post("/profile")
    async def save_profile(avatar: StoredObject = completed_avatar) -> dict[str, str]:
        return {"avatar": avatar.key}

    app.mount("/", StaticFiles(directory=pages))
    with serve(app) as url, allowed_by(seaweedfs, url):
        yield Site(url=url, store=seaweedfs, completed=completed)


def _presigner(backend: Backend, completed: list[Completion]) -> Presigner:
    policy = UploadPolicy(content_types={"image/png"}, max_bytes=MAX_BYTES, prefix=PUBLIC_PREFIX)
    return Presigner(
        backend=backend, policy=policy, secret=TOKEN_SECRET, inspect=_inspect, on_complete=completed.append
    )


@pytest.fixture(params=UPLOADERS)
def uploader(request: pytest.FixtureRequest, site: Site, page: Page) -> Uploader:
    """Each uploader, whose page is open, with a user who is signed in."""
    page.context.add_cookies([{"name": "user", "value": "alice", "url": site.url}])
    found: Uploader = UPLOADERS[request.param]
    page.goto(f"{site.url}/{found.path}")
    return found


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with _local_backend(tmp_path_factory.mktemp("azure"), "azure") as backend:
        yield backend


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with _local_backend(tmp_path_factory.mktemp("gcs"), "gcs") as backend:
        yield backend


@contextmanager
def _local_backend(directory: Path, storage: StorageName) -> Iterator[Backend]:
    with (
        run_local_storage(directory, origins=["*"], report=print, storage=storage) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.environment.items():
            patch.setenv(name, value)
        backend, _ = open_backend(running.environment["PRESIGN_BUCKET"])
        yield backend


@pytest.fixture
def picture(png: Path) -> bytes:
    return png.read_bytes()


def _pick(page: Page, uploader: Uploader, *files: FilePayload) -> None:
    page.locator(uploader.file_input).set_input_files(list(files))


def test_a_file_is_stored_verified_and_published_and_the_application_knows_its_owner(
    page: Page, site: Site, uploader: Uploader, picture: bytes
) -> None:
    before, content = site.keys(), picture + b"of " + uploader.path.encode()
    with page.expect_response(f"{site.url}/files/complete") as completion:
        _pick(page, uploader, _file("a cat & a dog.png", content))
    stored = completion.value.json()
    assert site.keys() - before == {stored["key"]}, "nothing is pending any more"
    assert site.read(stored["key"]) == content
    assert (site.completed[-1].owner, site.completed[-1].name) == ("alice", "a cat & a dog.png")
    assert site.completed[-1].stored.key == stored["key"]
    _shows_key(page, uploader, stored["key"])


def _shows_key(page: Page, uploader: Uploader, key: str) -> None:
    if "filepond" in uploader.path:
        expect(page.locator("#pictures input[type=hidden]")).to_have_value(key)
        expect(page.locator("#pictures .filepond--item")).to_have_attribute(
            "data-filepond-item-state", "processing-complete"
        )
    elif "dropzone" in uploader.path:
        expect(page.locator(".dz-success")).to_have_attribute("title", key)
    else:
        shown = [f"a cat & a dog.png is stored as {key}", "1 stored, 0 failed"]
        expect(page.locator("#results li")).to_have_text(shown)


@pytest.mark.parametrize("name", ["uppy 6", "uppy 5"])
def test_uppy_sends_a_put_where_the_ticket_has_one(page: Page, site: Site, picture: bytes, name: str) -> None:
    page.context.add_cookies([{"name": "user", "value": "alice", "url": site.url}])
    page.route(
        re.compile("/files/(upload|complete)$"),
        lambda route: route.continue_(url=route.request.url.replace("/files/", "/put/")),
    )
    page.goto(f"{site.url}/{UPLOADERS[name].path}")
    with page.expect_request(lambda request: request.method == "PUT") as sent:
        _pick(page, UPLOADERS[name], _file("cat.png", picture))
    assert sent.value.headers["content-type"] == "image/png"
    expect(page.locator("#results li").last).to_have_text("1 stored, 0 failed")
    assert site.read(site.completed[-1].stored.key) == picture


@pytest.mark.parametrize("name", [name for name in UPLOADERS if "uppy" in name])
@pytest.mark.parametrize("storage", ["azure", "gcs"])
def test_uppy_uploads_to_the_other_clouds(
    page: Page, pages: Path, picture: bytes, storage: str, name: str, request: pytest.FixtureRequest
) -> None:
    backend: Backend = request.getfixturevalue(storage)
    completed: list[Completion] = []
    app = FastAPI()
    app.include_router(create_router(_presigner(backend, completed), authorize=_user, companion=True), prefix="/files")
    app.mount("/", StaticFiles(directory=pages))
    with serve(app) as url:
        page.context.add_cookies([{"name": "user", "value": "alice", "url": url}])
        page.goto(f"{url}/{UPLOADERS[name].path}")
        _pick(page, UPLOADERS[name], _file("cat.png", picture))
        # In Companion mode, Uppy 6 sends a form for every ticket, and Azure takes none.
        works = (storage, name) != ("azure", "uppy 6, companion")
        expect(page.locator("#results li").last).to_have_text(f"{works:d} stored, {not works:d} failed")
    stored = [each.stored for each in completed]
    published = [backend.read(each.key, offset=0, length=2 * len(picture), etag=each.etag) for each in stored]
    assert published == ([picture] if works else [])


def test_progress_moves_and_a_cancelled_upload_stores_nothing(
    page: Page, site: Site, uploader: Uploader, picture: bytes
) -> None:
    before, completed = site.keys(), len(site.completed)
    page.on("dialog", lambda dialog: dialog.accept())
    session = page.context.new_cdp_session(page)
    _limit_rate(session, UPLOAD_BYTES_PER_SECOND)
    with page.expect_event("requestfailed", lambda request: request.method == "POST") as aborted:
        _pick(page, uploader, _file("large.png", picture.ljust(MAX_BYTES, b".")))
        seen = 0.0
        for _ in range(3):
            moved = page.wait_for_function(f"() => {{ const now = {uploader.progress}; return now > {seen} && now }}")
            seen = moved.json_value()
            assert 0 < seen < 50, "the upload takes ten seconds"
        page.locator(uploader.cancel).click()
    assert site.store.bucket in aborted.value.url
    _limit_rate(session, -1)
    # The storage has seen the end of the cancelled request before it has answered this one.
    with page.expect_response(f"{site.url}/files/complete") as completion:
        _pick(page, uploader, _file("small.png", picture))
    assert site.keys() - before == {completion.value.json()["key"]}
    assert len(site.completed) == completed + 1


def test_what_the_server_refuses_or_rejects_shows_the_reason_and_nothing_is_stored(
    page: Page, site: Site, uploader: Uploader, picture: bytes
) -> None:
    before, results = site.keys(), page.locator(uploader.results)
    _pick(page, uploader, _file("page.html", b"<html>", "text/html"))
    expect(results).to_contain_text(uploader.reason)
    _pick(page, uploader, _file("dark.png", picture))
    expect(results).to_contain_text(VERDICT)
    assert site.keys() == before
    if "/uppy" in uploader.path:
        expect(results.locator("li").last).to_have_text("0 stored, 1 failed")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(page: Page, site: Site, picture: bytes) -> None:
    # In Companion mode, Uppy sends the size only because the page adds it.
    page.context.add_cookies([{"name": "user", "value": "alice", "url": site.url}])
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(f"{site.url}/uppy5/uppy_companion.html")
    _pick(page, UPLOADERS["uppy 5, companion"], _file("large.png", picture.ljust(MAX_BYTES + 1, b".")))
    expect(page.locator("#results")).to_contain_text(f"at most {MAX_BYTES} are allowed")
    assert not [url for url in sent if site.store.bucket in url]


def test_uppy_5_says_why_it_may_not_split_a_file_into_parts(page: Page, site: Site, picture: bytes) -> None:
    _open_with_parts(page, site.url, "uppy 5, companion", from_bytes=1)
    _pick(page, UPLOADERS["uppy 5, companion"], _file("cat.png", picture))
    expect(page.locator("#results")).to_contain_text("this file comes in one request: set shouldUseMultipart")


@contextmanager
def _site_in_parts(pages: Path, backend: Backend, *, allowed: Store | None = None) -> Iterator[tuple[str, Presigner]]:
    """Yield the URL of the pages, where files of 6 MiB and more come in parts, and the presigner behind them."""
    policy = UploadPolicy(
        content_types={"image/png"}, max_bytes=2 * LARGE_BYTES, prefix=PUBLIC_PREFIX, parts_from_bytes=PARTS_FROM_BYTES
    )
    presigner = Presigner(backend=backend, policy=policy, secret=TOKEN_SECRET, inspect=_inspect)
    app = FastAPI()
    app.include_router(create_router(presigner, authorize=_user, companion=True), prefix="/files")
    app.mount("/", StaticFiles(directory=pages))
    with serve(app) as url, allowed_by(allowed, url) if allowed else nullcontext():
        yield url, presigner


@pytest.mark.parametrize("name", IN_PARTS)
@pytest.mark.parametrize("storage", ["seaweedfs", "gcs"])
def test_uppy_sends_a_large_file_in_parts(
    page: Page, pages: Path, picture: bytes, storage: str, name: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(storage)
    store: Store | None = found if storage == "seaweedfs" else None
    backend: Backend = found.backend() if store else found
    content = picture.ljust(LARGE_BYTES, b".")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {urlsplit(request.url).path}"))
    with _site_in_parts(pages, backend, allowed=store) as (url, _):
        _open_with_parts(page, url, name, from_bytes=PARTS_FROM_BYTES)
        with page.expect_response(f"{url}/files/complete") as completion:
            _pick(page, UPLOADERS[name], _file("a cat & a dog.png", content))
        stored = completion.value.json()
        _shows_key(page, UPLOADERS[name], stored["key"])
    assert backend.read(stored["key"], offset=0, length=2 * LARGE_BYTES, etag=stored["etag"]) == content
    # Two parts have 5 MiB, and one has the rest.
    assert len([each for each in sent if each.startswith("PUT ")]) == 3
    assert not [each for each in sent if each.endswith("/s3/params")]


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_large_file_that_uppy_cancels_or_the_server_rejects_leaves_nothing(
    page: Page, pages: Path, seaweedfs: Store, picture: bytes, name: str
) -> None:
    content = picture.ljust(LARGE_BYTES, b".")
    with _site_in_parts(pages, seaweedfs.backend(), allowed=seaweedfs) as (url, presigner):
        parts, pending = presigner.backend.parts, presigner.policy.pending_prefix
        assert parts is not None
        assert pending is not None
        others = set(parts.list_uploads(pending))
        objects = {each.key for each in presigner.backend.pending.list_objects(pending)}
        _open_with_parts(page, url, name, from_bytes=PARTS_FROM_BYTES)
        _pick(page, UPLOADERS[name], _file("dark.png", content))
        expect(page.locator("#results")).to_contain_text(VERDICT)
        _limit_rate(page.context.new_cdp_session(page), 5 * UPLOAD_BYTES_PER_SECOND)
        with page.expect_request(lambda request: request.method == "PUT"):
            _pick(page, UPLOADERS[name], _file("cat.png", content))
        assert len(set(parts.list_uploads(pending)) - others) == 1
        with page.expect_response(lambda response: response.request.method == "DELETE") as ended:
            page.locator("#cancel").click()
        assert ended.value.status == 200
        assert set(parts.list_uploads(pending)) <= others
        assert {each.key for each in presigner.backend.pending.list_objects(pending)} <= objects


@pytest.mark.parametrize("name", IN_PARTS)
def test_uppy_resumes_a_large_file_without_the_parts_that_are_stored(
    page: Page, pages: Path, seaweedfs: Store, picture: bytes, name: str
) -> None:
    content = picture.ljust(LARGE_BYTES, b".")
    with _site_in_parts(pages, seaweedfs.backend(), allowed=seaweedfs) as (url, presigner):
        _open_with_parts(page, url, name, from_bytes=PARTS_FROM_BYTES)
        page.evaluate(
            """() => {
                globalThis.numbers = [];
                pageUppy.on("s3-multipart:part-uploaded", (_, { PartNumber }) => {
                    numbers.push(PartNumber);
                    if (numbers.length === 1) pageUppy.pauseAll();
                });
            }"""
        )
        session = page.context.new_cdp_session(page)
        _limit_rate(session, 20 * UPLOAD_BYTES_PER_SECOND)
        _pick(page, UPLOADERS[name], _file("a cat & a dog.png", content))
        page.wait_for_function("() => numbers.length === 1")
        (first,) = page.evaluate("() => numbers")
        _limit_rate(session, -1)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
        with page.expect_response(re.compile(r"/s3/multipart/[^/]+\?key=")) as listed:
            page.evaluate("() => pageUppy.resumeAll()")
        assert first in [each["PartNumber"] for each in listed.value.json()]
        with page.expect_response(f"{url}/files/complete") as completion:
            pass
        stored = completion.value.json()
        _shows_key(page, UPLOADERS[name], stored["key"])
        read = presigner.backend.read(stored["key"], offset=0, length=2 * LARGE_BYTES, etag=stored["etag"])
    assert read == content
    assert sent
    assert not [each for each in sent if f"partNumber={first}&" in f"{each}&"]


def test_uppy_5_says_that_azures_parts_have_no_etag(page: Page, pages: Path, azure: Backend, picture: bytes) -> None:
    with _site_in_parts(pages, azure) as (url, _):
        _open_with_parts(page, url, "uppy 5, companion", from_bytes=PARTS_FROM_BYTES)
        _pick(page, UPLOADERS["uppy 5, companion"], _file("cat.png", picture.ljust(LARGE_BYTES, b".")))
        expect(page.locator("#results")).to_contain_text("Uppy needs an ETag for each part")


def test_filepond_posts_a_token_with_a_form_and_the_application_completes_the_upload(
    page: Page, site: Site, picture: bytes
) -> None:
    before = site.keys()
    page.context.add_cookies([{"name": "user", "value": "alice", "url": site.url}])
    page.goto(f"{site.url}/newest/filepond.html")
    item = page.locator("#attachment .filepond--item")
    field = page.locator("#attachment input[type=hidden]")
    page.locator("#attachment input[type=file]").set_input_files(_file("first.png", picture))
    expect(item).to_have_attribute("data-filepond-item-state", "processing-complete")
    first = field.input_value()
    assert not {key for key in site.keys() - before if key.startswith(PUBLIC_PREFIX)}, "a form may never be sent"
    page.locator("#attachment .filepond--action-revert-item-processing").click()
    expect(item).to_have_count(0)
    page.locator("#attachment input[type=file]").set_input_files(_file("second.png", picture))
    expect(field).to_have_value(re.compile("."))
    assert field.input_value() != first
    with page.expect_navigation(url="**/profile"):
        page.get_by_role("button", name="Save").click()
    (key,) = {key for key in site.keys() - before if key.startswith(PUBLIC_PREFIX)}
    assert key in page.content()
    assert (site.completed[-1].stored.key, site.completed[-1].name) == (key, "second.png")


def _open_with_parts(page: Page, url: str, name: str, *, from_bytes: int) -> None:
    """Open the page of an uploader, for alice, with another size from which on Uppy splits files."""

    def changed(script: str) -> str:
        assert script.count("size >= 100 * 1024 ** 2") == 1
        exposed = "\nglobalThis.pageUppy = uppy;\n"
        return script.replace("size >= 100 * 1024 ** 2", f"size >= {from_bytes}") + exposed

    page.context.add_cookies([{"name": "user", "value": "alice", "url": url}])
    page.route(
        "**/dist/uppy_companion.js",
        lambda route: route.fulfill(response=(answer := route.fetch()), body=changed(answer.text())),
    )
    page.goto(f"{url}/{UPLOADERS[name].path}")


def _limit_rate(session: Any, bytes_per_second: int) -> None:
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second},
    )
