"""Settings: how they are read from arguments, addresses and the environment, and how wrong ones are refused."""

from __future__ import annotations

import os
from typing import Any

import azure.identity
import pytest

from emulators.azurite import ACCOUNT_KEY, ACCOUNT_NAME
from presign import ConfigurationError
from presign.azure import AzureBackend, open_azure
from tests.azure.accounts import (
    GRANT,
    NOW,
    OBJECT_ID,
    OTHER_ACCOUNT_KEY,
    PENDING_GRANT,
    TENANT_ID,
    Identity,
    RunningAccount,
    query_of,
    utc_now,
)

CLIENT = {"AZURE_TENANT_ID": TENANT_ID, "AZURE_CLIENT_ID": OBJECT_ID}


@pytest.mark.parametrize(
    ("connection_string", "object_url"),
    [
        (
            f"DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey={ACCOUNT_KEY};"
            "EndpointSuffix=core.windows.net",
            "https://myaccount.blob.core.windows.net/uploads/k",
        ),
        (f"AccountKey={ACCOUNT_KEY};AccountName=myaccount;", "https://myaccount.blob.core.windows.net/uploads/k"),
        (
            f"AccountName=myaccount;AccountKey={ACCOUNT_KEY};BlobEndpoint=https://files.example.com/",
            "https://files.example.com/uploads/k",
        ),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1/uploads/k"),
    ],
)
def test_connection_strings_are_read_as_the_portal_shows_them(connection_string: str, object_url: str) -> None:
    backend = AzureBackend(container="uploads", connection_string=connection_string)
    assert backend.object_url("k") == object_url


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"container": "Up"}, "container", "3 to 63 lower-case letters"),
        ({"pending_container": "Up"}, "pending_container", "3 to 63 lower-case letters"),
        ({"container": "a--b"}, "container", "single hyphens"),
        ({"container": "uploads/x"}, "container", "single hyphens"),
        ({"account_name": "My-Account"}, "account_name", "3 to 24 lower-case letters"),
        ({"account_name": None}, "account_name", "set AZURE_STORAGE_ACCOUNT"),
        ({"account_key": "not base64!"}, "account_key", "not base64; .*AZURE_STORAGE_KEY"),
        ({"account_key": "YWJj", "credential": Identity()}, "credential", "one of connection_string"),
        ({"verifier_account_key": "not base64!"}, "verifier_account_key", "not base64; .*AZURE_STORAGE_VERIFIER_KEY"),
        (
            {"verifier_account_key": "YWJj", "verifier_credential": Identity()},
            "verifier_credential",
            "only one of verifier_account_key and verifier_credential",
        ),
        (
            {"account_url": "http://127.0.0.1:1/myaccount", "verifier_credential": Identity()},
            "account_url",
            "must begin with https:// if an identity signs",
        ),
        ({"account_key": "YWJj", "bind_headers": True}, "bind_headers", "needs an identity"),
        ({"account_name": None, "account_url": "https://files.example.com"}, "account_name", "pass account_name"),
        ({"account_url": "https://other.blob.core.windows.net"}, "account_url", "account other, not of myaccount"),
        ({"account_url": "http://127.0.0.1:10000"}, "account_url", "no account name; add it as the path"),
        ({"account_url": "http://127.0.0.1:10000/other"}, "account_url", "account other, not of myaccount"),
        ({"account_url": "ftp://myaccount.blob.core.windows.net"}, "account_url", "must be a blob service's URL"),
        ({"account_url": "https://a.blob.core.windows.net/?sv=1&sig=s"}, "account_url", "must be a blob service's URL"),
        ({"account_url": "https://h:x/myaccount"}, "account_url", "must be a blob service's URL"),
        (
            {"account_url": "http://myaccount.blob.core.windows.net"},
            "account_url",
            "must begin with https://, .* set allow_http",
        ),
        (
            {"account_url": "http://azurite:1/myaccount", "public_account_url": "http://127.0.0.1:1/myaccount"},
            "account_url",
            "must begin with https://, .* set allow_http",
        ),
        (
            {"public_account_url": "http://files.example.com"},
            "public_account_url",
            "must begin with https://, .* set allow_http",
        ),
        (
            {
                "account_key": None,
                "connection_string": f"DefaultEndpointsProtocol=http;AccountName=myaccount;AccountKey={ACCOUNT_KEY}",
            },
            "connection_string",
            "must begin with https://, .* set allow_http",
        ),
        (
            {"account_url": "https://files.example.com", "endpoint_suffix": "x.cn"},
            "endpoint_suffix",
            "gives the URL already",
        ),
        ({"account_key": None, "connection_string": "nothing"}, "connection_string", "AccountName=...;AccountKey"),
        (
            {
                "account_key": None,
                "connection_string": "BlobEndpoint=https://myaccount.blob.core.windows.net;SharedAccessSignature=sig=S",
            },
            "connection_string",
            "can sign no others",
        ),
        (
            {"account_key": None, "connection_string": f"AccountName=other1;AccountKey={ACCOUNT_KEY}"},
            "account_name",
            "is for the account other1, not for myaccount",
        ),
        (
            {"account_key": None, "connection_string": "AccountName=myaccount;AccountKey=???"},
            "account_key",
            "is not base64",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(options: dict[str, Any], field: str, message: str) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    with pytest.raises(ConfigurationError, match=message) as caught:
        AzureBackend(**values | options)
    assert caught.value.field == field


@pytest.mark.parametrize("value", [5, b"bytes", ["list"], True], ids=repr)
@pytest.mark.parametrize(
    "setting",
    [
        "container",
        "pending_container",
        "account_name",
        "account_url",
        "public_account_url",
        "endpoint_suffix",
        "connection_string",
        "account_key",
        "credential",
        "verifier_account_key",
        "verifier_credential",
    ],
)
def test_a_setting_of_the_wrong_type_is_refused(setting: str, value: Any) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    if setting in {"connection_string", "credential"}:
        del values["account_key"]
    with pytest.raises(ConfigurationError) as caught:
        AzureBackend(**values | {setting: value})
    assert caught.value.field == setting


@pytest.mark.parametrize("value", ["true", 1, None], ids=repr)
@pytest.mark.parametrize("setting", ["bind_headers", "allow_http"])
def test_a_switch_must_be_true_or_false(setting: str, value: Any) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    with pytest.raises(ConfigurationError, match="must be True or False") as caught:
        AzureBackend(**values | {setting: value})
    assert caught.value.field == setting


@pytest.mark.parametrize(
    "url",
    ["", "http://[", "http://[::1", "https://h:99999/myaccount", "https://a b.example", "https://a\udcff.example"],
)
@pytest.mark.parametrize("setting", ["account_url", "public_account_url"])
def test_a_setting_that_is_no_url_is_refused(setting: str, url: str) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    with pytest.raises(ConfigurationError, match="must be a blob service's URL") as caught:
        AzureBackend(**values | {setting: url})
    assert caught.value.field == setting


@pytest.mark.parametrize(
    "suffix", ["", "http://[", "core.windows.net/path", "core.windows.net:1", "host", "a b.example"]
)
def test_an_endpoint_suffix_that_is_no_domain_is_refused(suffix: str) -> None:
    values: dict[str, Any] = {"container": "uploads", "account_name": "myaccount", "account_key": ACCOUNT_KEY}
    with pytest.raises(ConfigurationError, match="must be a domain such as") as caught:
        AzureBackend(**values, endpoint_suffix=suffix)
    assert caught.value.field == "endpoint_suffix"


@pytest.mark.parametrize(
    "connection_string",
    ["", "AccountName=My-Account;AccountKey=YWJj", "AccountName=myaccount;AccountKey=YWJj;BlobEndpoint=http://["],
)
def test_a_wrong_connection_string_is_named_as_it_was_given(
    connection_string: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AzureBackend(container="uploads", connection_string=connection_string)
    assert caught.value.field == "connection_string"
    if connection_string:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string)
        with pytest.raises(ConfigurationError) as caught:
            AzureBackend(container="uploads")
        assert caught.value.field == "AZURE_STORAGE_CONNECTION_STRING"


def test_an_identity_is_refused_for_an_account_without_https() -> None:
    with pytest.raises(ConfigurationError, match="must begin with https:// if an identity signs") as caught:
        AzureBackend(container="uploads", account_url="http://127.0.0.1:10000/myaccount", credential=Identity())
    assert caught.value.field == "account_url"


def test_an_asynchronous_identity_is_refused() -> None:
    class AsyncIdentity:
        async def get_token(self, *scopes: str) -> None: ...

    identity: Any = AsyncIdentity()
    with pytest.raises(ConfigurationError, match=r"not of azure\.identity\.aio") as caught:
        AzureBackend(container="uploads", account_name="myaccount", credential=identity)
    assert caught.value.field == "credential"


@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_TOKEN_CREDENTIALS": "nonsense"},
        {"AZURE_AUTHORITY_HOST": "http://login.example"},
        {"AZURE_TENANT_ID": "no tenant", "AZURE_CLIENT_ID": "an-application", "AZURE_CLIENT_SECRET": "S3CR3T"},
        {**CLIENT, "AZURE_CLIENT_CERTIFICATE_PATH": "/no/such/file.pem"},
        {**CLIENT, "AZURE_CLIENT_CERTIFICATE_PATH": os.devnull},
    ],
    ids=lambda variables: [*variables][-1],
)
def test_wrong_settings_of_the_default_identity_are_refused(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="the identity's settings cannot be used") as caught:
        AzureBackend(container="uploads", account_name="myaccount")
    assert caught.value.field == "credential"
    assert not [value for value in variables.values() if value in str(caught.value)]


def test_an_address_opens_a_backend_with_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    backend, prefix = open_azure("azblob://myaccount/uploads/public/a/?endpoint_suffix=core.chinacloudapi.cn")
    assert prefix == "public/a/"
    assert backend.object_url("k") == "https://myaccount.blob.core.chinacloudapi.cn/uploads/k"
    assert open_azure("azblob://myaccount/uploads")[1] == ""
    backend, prefix = open_azure("azblob://myaccount/uploads/public/?pending_container=waiting")
    assert prefix == "public/"
    assert backend.sign_upload(PENDING_GRANT, NOW).url.startswith(
        f"https://myaccount.blob.core.windows.net/waiting/{PENDING_GRANT.pending_key}?"
    )
    assert backend.object_url("k") == "https://myaccount.blob.core.windows.net/uploads/k"
    assert "pending_container='waiting'" in repr(backend)
    url = "azblob://devstoreaccount1/uploads/?endpoint_url=http://azurite:1/devstoreaccount1"
    url = f"{url}&public_endpoint_url=http://127.0.0.1:1/devstoreaccount1&bind_headers=false"
    with pytest.raises(ConfigurationError, match="allow_http"):
        open_azure(f"{url}&allow_http=false")
    backend, _ = open_azure(f"{url}&allow_http=true")
    assert backend.object_url("k") == "http://127.0.0.1:1/devstoreaccount1/uploads/k"

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=mine123;AccountKey={OTHER_ACCOUNT_KEY}")
    backend, _ = open_azure("azblob://mine123/uploads/")
    explicit = AzureBackend(container="uploads", account_name="mine123", account_key=OTHER_ACCOUNT_KEY)
    assert backend.sign_upload(GRANT, NOW).url == explicit.sign_upload(GRANT, NOW).url
    with pytest.raises(ConfigurationError, match="CONNECTION_STRING is for the account mine123, not for myaccount"):
        open_azure("azblob://myaccount/uploads/")


def test_a_key_of_another_account_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "mine123")
    with pytest.raises(
        ConfigurationError, match="AZURE_STORAGE_KEY with AZURE_STORAGE_ACCOUNT is for the account mine123"
    ):
        open_azure("azblob://myaccount/uploads/")
    assert AzureBackend(container="uploads").name == "azblob://mine123/uploads"


def test_without_a_key_the_default_identity_signs(
    identity_account: RunningAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Identity)
    backend, _ = open_azure(
        f"azblob://{ACCOUNT_NAME}/uploads/?endpoint_url={identity_account.azurite.account_url}&bind_headers=true"
    )
    query = query_of(backend.sign_upload(GRANT, utc_now()).url)
    assert (query["skoid"], query["sktid"], query["sv"]) == (OBJECT_ID, TENANT_ID, "2026-04-06")


@pytest.mark.parametrize(
    "url",
    [
        "azblob://myaccount",
        "azblob://myaccount/",
        "azblob:///uploads/",
        "https://myaccount.blob.core.windows.net/uploads",
        "azblob://user:secret@myaccount/uploads",
        "azblob://myaccount/uploads/#x",
        "azblob://myaccount/uploads/?region=x",
        "azblob://myaccount/uploads/?endpoint_suffix=",
        "azblob://myaccount/uploads/?bind_headers=yes",
        "azblob://myaccount/uploads/?allow_http=yes",
        "azblob://myaccount/uploads/?pending_container=UP",
        "azblob://myaccount/uploads/?bind_headers=true&bind_headers=false",
        "azblob://myaccount/uploads/?sig",
        "azblob://myaccount/uploads/public",
        "azblob://myaccount/uploads//x/",
        "azblob://myaccount/uploads/../x/",
        "azblob://[/uploads/",
        "azblob://myaccount/uploads/?endpoint_url=http%3A%2F%2F%5B",
        "azblob://myaccount/uploads/?endpoint_suffix=http%3A%2F%2F%5B",
        "azblob://myaccount/%FF%FE/",
        None,
        b"azblob://myaccount/uploads/",
    ],
)
def test_a_wrong_address_is_refused(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", ACCOUNT_KEY)
    with pytest.raises(ConfigurationError) as caught:
        open_azure(url)
    assert "secret" not in str(caught.value)
