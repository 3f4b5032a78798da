"""The command presign doctor: its two forms of output, its exit codes, and that it shows no secret."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from click.testing import CliRunner, Result

from emulators.s3_rights import MINIO, Leniency
from presign import Rule
from presign.backends.knowledge import StoreKnowledge, read_knowledge
from presign.cli import main
from presign.doctor import CATALOGUE
from presign.doctor.sending import Sender
from presign.errors import ConfigurationError
from tests.doctor.s3_store import BUCKET, ORIGIN, SECRETS, Running, Set, run_store

_KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIASIGNER",
    "AWS_SECRET_ACCESS_KEY": SECRETS["AKIASIGNER"],
    "PRESIGN_VERIFIER_ACCESS_KEY_ID": "AKIAVERIFIER",
    "PRESIGN_VERIFIER_SECRET_ACCESS_KEY": SECRETS["AKIAVERIFIER"],
}


def _url(running: Running, **parameters: str) -> str:
    # As on Amazon S3, whose answers the reference gives.
    known = {"region": "us-east-1", "endpoint_url": running.url, "sign_guards": "false"}
    query = urlencode({**known, **parameters})
    return f"s3://{BUCKET}/public/?{query}"


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["doctor", *arguments], env=_KEYS)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_good_store_ends_with_0_and_a_report_for_a_person() -> None:
    with run_store(Set()) as running:
        result = _run(_url(running), "--origin", ORIGIN, "--public")
        assert result.exit_code == 0, result.output
        assert f"ok               cors-preflight: {ORIGIN} may send a POST form" in result.output
        assert re.search(r"s3://uploads: 1 could not be checked, \d+ ok$", result.output.strip())
        assert running.left() == []


def test_a_warning_ends_with_1_and_says_what_it_means_and_what_to_do(tmp_path: Path) -> None:
    learned = tmp_path / "learned.json"
    with run_store(Set(lenient=frozenset({Leniency.UNCHECKED_CHECKSUMS}))) as running:
        result = _run(_url(running), "--write", str(learned))
        assert result.exit_code == 1, result.output
        assert "WARNING          rule-checksum: the storage accepts a POST form with other bytes" in result.output
        assert CATALOGUE["rule-checksum"].meaning in " ".join(result.output.split())
        assert "learned=FILE" in result.output
        assert "could not check  cors-preflight: no origin was given" in result.output
        knowledge = read_knowledge(learned, storage=f"s3://{BUCKET}", host=urlsplit(running.url).netloc)
        assert knowledge is not None
        assert knowledge.of("post") == {Rule.SIZE, Rule.TYPE, Rule.HEADERS}
        again = _run(_url(running, learned=str(learned)), "--origin", ORIGIN)
        assert again.exit_code == 0, again.output


def test_a_failure_ends_with_2_and_is_told_as_json_too() -> None:
    with run_store(Set(bucket={"cors": ()})) as running:
        result = _run(_url(running), "--origin", ORIGIN, "--json")
    assert result.exit_code == 2
    report: dict[str, Any] = json.loads(result.output)
    assert report.keys() == {"storage", "prefix", "pending_prefix", "exit_code", "findings", "learned"}
    assert (report["storage"], report["exit_code"]) == (f"s3://{BUCKET}", 2)
    failed = [finding for finding in report["findings"] if finding["severity"] == "failure"]
    assert {finding["code"] for finding in failed} == {"cors-preflight", "cors-answer"}
    for finding in failed:
        assert finding["meaning"] == CATALOGUE[finding["code"]].meaning
        assert json.loads(finding["paste"])[0]["AllowedOrigins"] == [ORIGIN]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://bucket/"], "the address must begin with one of s3://, azblob://, gs://"),
        (["s3://bucket/public/?region=nowhere-1"], "is not one of AWS's regions"),
        (["s3://bucket/public/?region=eu-central-1", "--origin", "app.example.com"], "origin must be a scheme"),
        (["s3://bucket/public/?region=eu-central-1", "--pending-prefix", ""], "pending_prefix must not be empty"),
        (["s3://bucket/public/?region=eu-central-1", "--pending-prefix", "public/new/"], "overlap"),
        (["s3://bucket/public/?region=eu-central-1", "--type", "png"], "must be exact media types such as image/png"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_one_line(arguments: list[str], message: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.splitlines()) == 1


def test_the_longest_lifetime_of_a_ticket_is_that_of_the_option() -> None:
    result = _run("s3://bucket/public/", "--max-expires-in", "1.5h")
    assert result.exit_code == 2
    assert "it must be a whole number with s, m, h or d" in result.output
    with run_store(Set()) as running:
        for options, seconds in (((), 3600), (("--max-expires-in", "90m"), 5400)):
            result = _run(_url(running), *options)
            assert f"accepts a PUT with a ticket that is valid for {seconds} seconds" in " ".join(result.output.split())


def test_without_a_pending_prefix_uploads_go_to_the_final_one() -> None:
    with run_store(Set()) as running:
        result = _run(_url(running), "--no-pending", "--json")
        report = json.loads(result.output)
        # The signer of this store may only write to the pending prefix.
        assert "upload" in {each["code"] for each in report["findings"] if each["severity"] == "failure"}
        assert report["pending_prefix"] is None
        assert running.left() == []


def test_no_output_has_a_secret_or_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    send = Sender.send

    def recording(self: Sender, method: str, url: str, **options: Any) -> Any:
        sent.append(url)
        sent.append(options.get("body", b"").decode("latin-1"))
        return send(self, method, url, **options)

    monkeypatch.setattr(Sender, "send", recording)
    settings = (
        Set(lenient=MINIO),
        Set(bucket={"cors": ()}),
        Set(signer=()),
    )
    signatures: set[str] = set()
    for setting in settings:
        with run_store(setting) as running:
            outputs = [_run(_url(running), "--origin", ORIGIN, *form).output for form in ([], ["--json"])]
        for text in sent:
            signatures |= {part.partition("&")[0] for part in text.split("X-Amz-Signature=")[1:]}
            signatures |= {part[4:68] for part in text.split('name="x-amz-signature"\r\n')[1:]}
        for output in outputs:
            assert output
            assert not [secret for secret in SECRETS.values() if secret in output]
            assert "X-Amz-" not in output
            assert not [signature for signature in signatures if signature.strip() and signature.strip() in output]
    assert len(signatures) > 100


def test_the_file_of_another_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    StoreKnowledge(storage="s3://other", host="s3.example.com", shown={}).write(path)
    with pytest.raises(ConfigurationError, match="learned is about 's3://other', and this is s3://uploads") as caught:
        read_knowledge(path, storage="s3://uploads", host="s3.example.com")
    assert caught.value.field == "learned"


def test_the_file_of_a_bucket_of_the_same_name_on_another_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    with run_store(Set()) as running:
        assert _run(_url(running), "--write", str(path)).exit_code == 0
        written_for = urlsplit(running.url).netloc
        for host in ("127.0.0.1:1", "s3.example.com"):
            address = _url(running, endpoint_url=f"https://{host}", learned=str(path))
            result = _run(address)
            assert result.exit_code == 2
            assert f"on the host '{written_for}', and uploads are sent to {host}; run presign doctor" in result.output


def test_a_file_of_an_earlier_version_says_to_run_the_doctor_again(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(b'{"version": 1, "storage": "s3://uploads", "shown": {"put": ["size"]}}')
    with pytest.raises(ConfigurationError, match="does not name the storage's host; run presign doctor --write again"):
        read_knowledge(path, storage="s3://uploads", host="s3.example.com")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 2, "storage": "s3://uploads", "shown": {}}',
        b'{"version": 3, "storage": "s3://uploads", "host": "s3.example.com", "shown": {}}',
        b'{"version": 2, "storage": "s3://uploads", "host": "s3.example.com", "shown": {"ftp": []}}',
        b'{"version": 2, "storage": "s3://uploads", "host": "s3.example.com", "shown": {"put": ["speed"]}}',
    ],
)
def test_a_file_that_the_doctor_did_not_write_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(content)
    for source in (path, tmp_path / "missing.json", os.fspath(path)):
        with pytest.raises(ConfigurationError, match="a file that presign doctor --write has written"):
            read_knowledge(source, storage="s3://uploads", host="s3.example.com")


def test_a_file_that_cannot_be_written_ends_with_2(tmp_path: Path) -> None:
    with run_store(Set()) as running:
        result = _run(_url(running), "--write", str(tmp_path / "missing" / "learned.json"))
    assert result.exit_code == 2
    assert "cannot be written (FileNotFoundError)" in result.output
