"""The Azure program on the real engine: from nothing to an upload, a change, and the end."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import CorsRule

from emulators.azurite import Azurite
from emulators.ports import free_port
from tests.infra.azure.azurite_cloud import AzuriteCloud
from tests.infra.azure.program import FOREIGN_PAGE, PAGE, PROGRAM
from tests.infra.engine.conftest import engine as engine
from tests.infra.engine_stacks_of_clouds import engine_stack
from tests.infra.from_nothing import run_doctor, upload_through_the_page
from tests.infra.test_stack_to_demo import PNG


@pytest.fixture
def http(azurite: Azurite) -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(azurite.certificate))) as client:
        yield client


def test_a_stack_is_created_once_and_changed_and_destroyed(engine: Path, azurite: Azurite, tmp_path: Path) -> None:
    cloud = AzuriteCloud(azurite)
    with engine_stack(PROGRAM, cloud.for_engine, {"protect": False}, engine=engine, directory=tmp_path) as stack:
        # The stack itself, a resource group, two components, five resources of the account and six for the identity.
        assert stack.preview()[0] == {"create": 15}
        assert not cloud.state.account
        assert stack.up() == {"create": 15}
        assert cloud.state.containers == {"uploads": "Blob", "uploads-pending": "None"}
        assert stack.up() == {}
        assert stack.secret_outputs == set()

        stack.configure({"presign-azure:expirePendingAfterDays": 4})
        assert stack.up() == {"update": 1}
        assert [rule["days"] for rule in cloud.state.rules] == [4]

        assert stack.destroy() == {"delete": 15}
        assert (cloud.state.account, cloud.state.roles, cloud.state.assignments) == ({}, {}, [])


def test_what_somebody_changed_by_hand_is_found_and_put_back(
    engine: Path, azurite: Azurite, http: httpx.Client, tmp_path: Path
) -> None:
    cloud = AzuriteCloud(azurite)
    config = {"container": "drift", "pendingContainer": "drift-pending", "protect": False, "allowedOrigins": [PAGE]}
    pending = f"{azurite.account_url}/drift-pending"

    def may_send(origin: str) -> bool:
        asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        answer = http.options(f"{pending}/pending/a", headers=asked)
        return "access-control-allow-origin" in answer.headers

    def may_list() -> bool:
        return http.get(f"{pending}?restype=container&comp=list").is_success

    with engine_stack(PROGRAM, cloud.for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        assert stack.refresh() == {}
        assert (may_send(PAGE), may_send(FOREIGN_PAGE), may_list()) == (True, False, False)

        cloud.set_cors(CorsRule([FOREIGN_PAGE], ["PUT"], allowed_headers=["*"], max_age_in_seconds=1))
        cloud.set_access("drift-pending", "Container")
        cloud.state.account["allowSharedKeyAccess"] = True
        assert (may_send(PAGE), may_send(FOREIGN_PAGE), may_list()) == (False, True, True)
        assert stack.refresh() == {"update": 3}
        assert stack.up() == {"update": 3}
        assert (may_send(PAGE), may_send(FOREIGN_PAGE), may_list()) == (True, False, False)
        assert cloud.state.account["allowSharedKeyAccess"] is False

        # What is gone comes back, in one command.
        rules, assignments = list(cloud.state.rules), set(cloud.state.assignments)
        cloud.state.rules.clear()
        cloud.state.assignments.pop()
        cloud.set_access("drift", "None")
        stack.up(refresh=True)
        assert (cloud.state.rules, set(cloud.state.assignments)) == (rules, assignments)
        assert cloud.access("drift") == "Blob"
        assert stack.refresh() == {}
        assert stack.up() == {}
        stack.destroy()


@pytest.mark.thorough
def test_the_engine_deletes_nothing_of_a_protected_stack(engine: Path, azurite: Azurite, tmp_path: Path) -> None:
    cloud = AzuriteCloud(azurite)
    with engine_stack(PROGRAM, cloud.for_engine, {}, engine=engine, directory=tmp_path) as stack:
        stack.up()
        printed = stack.command("destroy", "--yes", "--skip-preview")
        assert printed.returncode != 0
        assert "protected" in printed.stdout + printed.stderr
        assert cloud.state.account
        assert set(cloud.state.containers) == {"uploads", "uploads-pending"}
        assert len(cloud.state.assignments) == 3
        stack.configure({"presign-azure:protect": False})
        stack.up()
        stack.destroy()
        assert not cloud.state.account


@pytest.mark.browser
def test_from_nothing_through_the_doctor_to_an_upload_through_the_page(
    engine: Path, azurite: Azurite, http: httpx.Client, tmp_path: Path
) -> None:
    page_port = free_port()
    page = f"http://localhost:{page_port}"
    config = {"allowedOrigins": [page], "container": "from-nothing", "protect": False}
    directory = tmp_path / "demo"
    directory.mkdir()
    # There is no Microsoft Entra ID here, so the key of Azurite's account signs in place of the identity.
    settings = {
        "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
        "REQUESTS_CA_BUNDLE": str(azurite.certificate),
        "SSL_CERT_FILE": str(azurite.certificate),
    }
    with engine_stack(PROGRAM, AzuriteCloud(azurite).for_engine, config, engine=engine, directory=tmp_path) as stack:
        stack.up()
        (directory / ".env").write_text(stack.outputs["env"], encoding="utf-8")
        verdict = run_doctor(directory, origin=page, **settings)
        assert verdict.exit_code == 0, verdict.text
        # A key signs, and no identity.
        assert set(verdict.of("unknown")) == {"pending-expiry", "signer-writes-elsewhere"}, verdict.text
        url = upload_through_the_page(directory, page_port=page_port, **settings)
        assert url.startswith(f"{azurite.account_url}/from-nothing/public/")
        assert http.get(url).content == PNG
        stack.destroy()
