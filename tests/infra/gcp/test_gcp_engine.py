"""The Google program on the real engine: from nothing to an upload, a change, and the end."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pulumi import automation

from emulators.cors import CorsRule
from emulators.ports import free_port
from tests.infra.engine.conftest import engine as engine
from tests.infra.engine_stacks_of_clouds import engine_stack
from tests.infra.from_nothing import run_doctor, upload_through_the_page
from tests.infra.gcp.program import FOREIGN_PAGE, PAGE, PROGRAM
from tests.infra.gcp.reference_cloud import ReferenceCloud
from tests.infra.test_stack_to_demo import PNG


def test_a_stack_is_created_once_and_changed_and_destroyed(engine: Path, tmp_path: Path) -> None:
    cloud = ReferenceCloud()
    config = {"location": "EU", "protect": False}
    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        # The stack itself, two components, five resources of the bucket and seven for the service account.
        assert stack.preview()[0] == {"create": 15}
        assert not cloud.state.buckets
        assert stack.up() == {"create": 15}
        bucket = stack.outputs["bucket"]
        assert list(cloud.state.buckets) == [bucket]
        assert stack.up() == {}
        assert stack.secret_outputs == set()

        stack.configure({"presign-gcp:allowedOrigins": ["https://app.example.com"]})
        assert stack.up() == {"update": 1}
        [rule] = cloud.state.buckets[bucket]["cors"]
        assert rule.allowed_origins == ("https://app.example.com",)

        assert stack.destroy() == {"delete": 15}
        assert (cloud.state.buckets, cloud.state.roles, cloud.state.accounts) == ({}, {}, {})


def test_what_somebody_changed_by_hand_is_found_and_put_back(engine: Path, tmp_path: Path) -> None:
    cloud = ReferenceCloud()
    config = {"location": "EU", "publicRead": False, "allowListing": False, "allowedOrigins": [PAGE]}
    everything = CorsRule(allowed_origins=("*",), allowed_methods=("PUT",), allowed_headers=("*",))

    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        name = stack.outputs["bucket"]
        assert stack.refresh() == {}

        def may_send(origin: str) -> bool:
            asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            with cloud.serve() as (url, _):
                answer = httpx.options(f"{url}/{name}/pending/a", headers=asked)
            return "access-control-allow-origin" in answer.headers

        before = dict(cloud.state.buckets[name])
        assert before["prevention"] == "enforced"
        assert (may_send(PAGE), may_send(FOREIGN_PAGE)) == (True, False)
        cloud.state.buckets[name] |= {"cors": (everything,), "prevention": "inherited", "lifecycle": []}
        [(_, role)] = cloud.state.folder_grants[(name, "pending/")]
        permissions = cloud.state.roles[role]
        cloud.state.roles[role] = (*permissions, "storage.objects.list")
        assert may_send(FOREIGN_PAGE)
        assert stack.refresh() == {"update": 2}
        assert stack.up() == {"update": 2}
        assert cloud.state.buckets[name] == before
        assert cloud.state.roles[role] == permissions
        assert (may_send(PAGE), may_send(FOREIGN_PAGE)) == (True, False)

        # What is gone comes back, in one command.
        place = (name, "pending/")
        grants = list(cloud.state.folder_grants[place])
        cloud.state.folder_grants[place].clear()
        cloud.state.buckets[name]["prevention"] = "inherited"
        stack.up(refresh=True)
        assert cloud.state.folder_grants[place] == grants
        assert cloud.state.buckets[name] == before
        assert stack.refresh() == {}
        assert stack.up() == {}


@pytest.mark.thorough
def test_another_public_prefix_is_public_and_the_old_one_no_longer(engine: Path, tmp_path: Path) -> None:
    cloud = ReferenceCloud()
    config = {"location": "EU", "protect": False}
    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        bucket = stack.outputs["bucket"]
        stack.configure({"presign-gcp:publicPrefix": "media/"})
        stack.up()
        assert stack.outputs["bucket"] == bucket
        assert cloud.rights("allUsers") == {"media/": {"storage.objects.get"}}
        assert set(cloud.rights(f"serviceAccount:{stack.outputs['signerEmail']}")) == {"pending/", "media/"}


@pytest.mark.thorough
def test_a_bucket_with_objects_stays_and_its_accounts_come_back_with_the_same_names(
    engine: Path, tmp_path: Path
) -> None:
    cloud = ReferenceCloud()
    config = {"location": "EU", "protect": False, "signWith": "hmacKey"}
    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        before = stack.outputs
        bucket = before["bucket"]
        settings, grants = cloud.state.buckets[bucket], cloud.rights(f"serviceAccount:{before['signerEmail']}")
        cloud.state.buckets_with_objects.add(bucket)
        with pytest.raises(automation.CommandError, match="not empty"):
            stack.destroy()
        assert cloud.state.buckets == {bucket: settings}
        # Their names contain the bucket's name, so they are made after it, and deleted before it.
        assert (cloud.state.accounts, cloud.state.hmac_keys) == ({}, {})

        stack.up()
        names = ("bucket", "signerEmail", "presignBucket")
        assert {name: stack.outputs[name] for name in names} == {name: before[name] for name in names}
        assert stack.outputs["hmacAccessId"] != before["hmacAccessId"]
        assert cloud.rights(f"serviceAccount:{before['signerEmail']}") == grants
        assert stack.up() == {}


@pytest.mark.thorough
def test_secrets_are_marked_and_encrypted_in_every_file_of_the_state(engine: Path, tmp_path: Path) -> None:
    config = {"location": "EU", "signWith": "hmacKey"}
    with engine_stack(PROGRAM, ReferenceCloud().for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        outputs, state = stack.outputs, stack.state_text()
        assert stack.secret_outputs == {"hmacSecret", "env"}
        assert outputs["hmacAccessId"] in state
        assert outputs["hmacSecret"] in outputs["env"]
        assert outputs["hmacSecret"] not in state


@pytest.mark.browser
def test_from_nothing_through_the_doctor_to_an_upload_through_the_page(engine: Path, tmp_path: Path) -> None:
    port, page_port = free_port(), free_port()
    page = f"http://localhost:{page_port}"
    config = {
        "location": "EU",
        "allowedOrigins": [page],
        "signWith": "privateKey",
        "separateVerifier": True,
        "gcp:storageCustomEndpoint": f"http://127.0.0.1:{port}/storage/v1/",
    }
    directory = tmp_path / "demo"
    directory.mkdir()
    cloud = ReferenceCloud(port=port)
    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        outputs = stack.outputs
        # As docs/provisioning-google.md says.
        for name, output in (
            (".env", "env"),
            (".env.google-signer.json", "signerCredentials"),
            (".env.google-verifier.json", "verifierCredentials"),
        ):
            (directory / name).write_text(outputs[output], encoding="utf-8")
        with cloud.serve() as (url, _):
            verdict = run_doctor(directory, origin=page)
            assert verdict.exit_code == 0, verdict.text
            # The verifier may neither delete what is published nor read the bucket's settings. It may list one folder,
            # so it does not learn that a version is gone. The server has no TLS.
            unknown = {"parts-expiry", "pending-expiry", "public-read", "publish", "tls", "versions"}
            assert set(verdict.of("unknown")) == unknown, verdict.text
            uploaded = upload_through_the_page(directory, page_port=page_port)
            assert uploaded.startswith(f"{url}/{outputs['bucket']}/public/")
            assert httpx.get(uploaded).content == PNG
