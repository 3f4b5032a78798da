"""The backend for an alias of ``STORAGES``: what django-storages is told about a bucket is written only once."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from django.core.files.storage import InvalidStorageError, storages

from presign.backends.backend import Backend
from presign.errors import ConfigurationError


def open_storage(alias: str) -> tuple[Backend, str]:
    """Return the backend and the prefix of django-storages' S3Storage, AzureStorage or GoogleCloudStorage.

    Bucket, region, endpoint, credentials and ``location`` are those of the storage. Raises ConfigurationError for an
    unknown alias and for a storage of another kind.
    """
    storage, open_ = find_opener(alias)
    return open_(storage), prefix_of(storage)


def find_opener(alias: str) -> tuple[Any, Callable[[Any], Backend]]:
    """Return the storage and the function that opens its backend, without opening it; raises ConfigurationError."""
    try:
        storage = storages[alias]
    except InvalidStorageError as error:
        raise ConfigurationError(f"STORAGES[{alias!r}]: {error}", field="storage", value=alias) from error
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(storage).__mro__}
    for name, open_ in _OPENERS.items():
        if name in names:
            return storage, open_
    raise ConfigurationError(
        f"STORAGES[{alias!r}] is a {type(storage).__name__}; browsers can upload to "
        f"{', '.join(name.rpartition('.')[2] for name in _OPENERS)}, or give 'backend' an address",
        field="storage",
        value=alias,
    )


def prefix_of(storage: Any) -> str:
    """Return what stands before a file's name in the keys of a storage."""
    location = str(getattr(storage, "location", "") or "").strip("/")
    return f"{location}/" if location else ""


def _open_s3(storage: Any) -> Backend:
    session = import_module("presign.s3.session").new_session(
        access_key=storage.access_key,
        secret_key=storage.secret_key,
        session_token=storage.security_token,
        profile=storage.session_profile,
    )
    options = {"region": storage.region_name, "endpoint_url": storage.endpoint_url, "session": session}
    return cast("Backend", import_module("presign.s3").S3Backend(bucket=storage.bucket_name, **options))


def _open_azure(storage: Any) -> Backend:
    if storage.connection_string:
        options = {"connection_string": storage.connection_string}
    else:
        options = {
            "account_name": storage.account_name,
            "account_key": storage.account_key,
            "credential": storage.token_credential,
        }
    return cast("Backend", import_module("presign.azure").AzureBackend(container=storage.azure_container, **options))


def _open_gcs(storage: Any) -> Backend:
    options = {"bucket": storage.bucket_name, "credentials": storage.credentials}
    return cast("Backend", import_module("presign.gcs").GCSBackend(**options))


_OPENERS: dict[str, Callable[[Any], Backend]] = {
    "storages.backends.s3.S3Storage": _open_s3,
    "storages.backends.azure_storage.AzureStorage": _open_azure,
    "storages.backends.gcloud.GoogleCloudStorage": _open_gcs,
}
