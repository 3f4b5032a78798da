"""The npm package holds what it should, and an empty project can bundle what `npm pack` made."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emulators.npm_packages import node

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "client"
MODULES = {path.name for path in CLIENT.glob("*.js")}
MAX_BUNDLED_BYTES = {"upload, UploadError": 7_710, "createUploader, UploadError": 10_330, "*": 10_560}
"""Gzipped, by what an application uses of the package; without what is loaded for large files alone.

Lists of files take 1,400 bytes of `createUploader`: they save two requests for nearly every file. The sentences about
wrong arguments take 80 to 107 bytes: without them, a page that has no types learns only of a property of undefined.
"""
MAX_PARTS_BYTES = 4_400
"""The same of what is loaded for a large file.

Some 100 bytes of it let a user cancel an upload whose disk never answers. 80 others spare a storage that is busy.
"""
MAX_DIGEST_BYTES = 768
"""The same of what is also loaded if the page asks for the digest of its parts."""

APPLICATION = """
import { upload, UploadError } from "presign-uploads";

try {
  await upload(new File(["x"], "cat.png", { type: "image/png" }), { api: process.argv[2], attempts: 1 });
} catch (error) {
  console.log(error instanceof UploadError, error.code, error.details.origin);
}
"""

PRINT_NAMES = "console.log(JSON.stringify(Object.keys(all)))"


def test_the_package_holds_the_modules_their_types_and_its_license(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    types = {f"types/{name.removesuffix('.js')}.d.ts" for name in MODULES}
    assert names == MODULES | types | {"LICENSE", "README.md", "package.json"}


def test_the_package_and_the_distribution_have_the_same_name_version_and_license() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    for member in ("name", "version", "license"):
        assert f'\n{member} = "{package[member]}"\n' in project
    assert "dependencies" not in package
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", CLIENT / "README.md"])
def test_every_name_that_a_page_imports_is_exported(page: Path, project: Path) -> None:
    imports = re.findall(r'import \{([^}]*)\} from "[^"]*(presign-uploads(?:/resume)?)[^"]*"', page.read_text())
    imported = {(name.strip(), module) for names, module in imports for name in names.split(",")}
    exported = {
        (name, module)
        for module in ("presign-uploads", "presign-uploads/resume")
        for name in json.loads(_run(project, f'import * as all from "{module}"; {PRINT_NAMES}'))
    }
    assert ("upload", "presign-uploads") in imported
    assert imported <= exported


def test_an_empty_project_bundles_the_package_and_the_bundle_runs(project: Path) -> None:
    (project / "application.js").write_text(APPLICATION)
    bundle = _bundle(project, "application.js")
    with _without(project / "node_modules"):
        # Nothing listens on this port, which only a privileged program could take.
        printed = _output(str(node()), str(bundle), "http://127.0.0.1:1/files", cwd=project)
    assert printed == "true server_unreachable http://127.0.0.1:1\n"


@pytest.mark.parametrize(("used", "limit"), MAX_BUNDLED_BYTES.items())
def test_the_client_is_small(used: str, limit: int, project: Path) -> None:
    names = used if used == "*" else f"{{ {used} }}"
    (project / "small.js").write_text(f'export {names} from "presign-uploads";')
    bundle = _bundle(project, "small.js")
    [parts] = bundle.parent.glob("parts-*.js")
    [digest] = bundle.parent.glob("parts_digest-*.js")
    assert sum(map(_gzipped_bytes, set(bundle.parent.iterdir()) - {parts, digest})) < limit
    assert _gzipped_bytes(parts) < MAX_PARTS_BYTES
    assert _gzipped_bytes(digest) < MAX_DIGEST_BYTES


def test_a_bundler_leaves_out_what_an_application_does_not_use(project: Path) -> None:
    (project / "little.js").write_text('import { formatBytes } from "presign-uploads"; console.log(formatBytes(1024));')
    bundle = _bundle(project, "little.js")
    assert bundle.stat().st_size < 1000
    assert _output(str(node()), str(bundle), cwd=project) == "1 KiB\n"


def _bundle(project: Path, entry: str) -> Path:
    """Return the bundle of a script, in a folder that also has what the bundle loads later."""
    # Without the scripts of packages, esbuild's program is started through Node.js.
    esbuild = CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild"
    folder = Path(tempfile.mkdtemp(dir=project))
    options = ["--bundle", "--splitting", "--minify", "--format=esm", "--target=es2022", f"--outdir={folder}"]
    _output(str(node()), str(esbuild), entry, *options, cwd=project)
    return folder / entry


def _gzipped_bytes(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), compresslevel=9))


def _run(project: Path, script: str) -> str:
    return _output(str(node()), "--input-type=module", "--eval", script, cwd=project)


def _output(*command: str, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextmanager
def _without(modules: Path) -> Iterator[None]:
    """Hide the installed packages, so that only a bundle that holds everything can run."""
    hidden = modules.with_name("hidden")
    modules.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(modules)
