"""From nothing to an upload on AWS: the real engine, the stack's `.env`, the doctor, and the page, on SeaweedFS."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from emulators.ports import free_port
from tests.infra.conftest import SeaweedFSWithTls, cloud_on
from tests.infra.engine.provider import attached
from tests.infra.engine.stacks import EngineStack, copy_project
from tests.infra.from_nothing import run_doctor, upload_through_the_page
from tests.infra.pulumi_program import INFRA, ROOT
from tests.infra.test_stack_to_demo import PNG


@pytest.mark.browser
def test_from_nothing_through_the_doctor_to_an_upload_through_the_page(
    engine: Path, seaweedfs: SeaweedFSWithTls, http: httpx.Client, tmp_path: Path
) -> None:
    cloud, page_port = cloud_on(seaweedfs), free_port()
    page = f"http://localhost:{page_port}"
    config = {
        "aws:region": cloud.region,
        "aws:endpoints": [{"s3": cloud.endpoint_url}],
        "presign:allowedOrigins": [page],
        "presign:separateVerifier": True,
        "presign:protect": False,
    }
    directory = tmp_path / "demo"
    directory.mkdir()
    with attached(cloud) as providers:
        stack = EngineStack(
            copy_project(ROOT, INFRA, tmp_path / "project"),
            engine=engine,
            providers=providers,
            config=config,
            home=tmp_path / "home",
        )
        stack.up()
        outputs = stack.outputs
        (directory / ".env").write_text(outputs["env"], encoding="utf-8")
        settings = {
            # SeaweedFS refuses form POSTs of a signer that may write under one prefix only.
            "PRESIGN_BUCKET": f"{outputs['presignBucket']}&upload_method=put",
            "AWS_CA_BUNDLE": str(seaweedfs.ca_file),
            "SSL_CERT_FILE": str(seaweedfs.ca_file),
        }
        verdict = run_doctor(directory, origin=page, **settings)
        assert verdict.exit_code == 0, verdict.text
        # The verifier may neither delete what is published nor read the lifecycle rules, which SeaweedFS has.
        assert set(verdict.of("unknown")) == {"parts-expiry", "pending-expiry", "public-read", "publish"}, verdict.text
        url = upload_through_the_page(directory, page_port=page_port, **settings)
        assert url.startswith(f"{cloud.endpoint_url}/{outputs['bucket']}/public/")
        assert http.get(url).content == PNG
