"""The registry of URL schemes: opens a backend from its address, and imports that cloud's SDK only."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from urllib.parse import unquote, urlsplit

from presign.backends.backend import Backend
from presign.errors import ConfigurationError
from presign.keys import check_prefix

# For each scheme: the package, the function that opens the backend, and the extra that installs the SDK.
_OPENERS = {
    "s3": ("presign.s3", "open_s3", "s3"),
    "azblob": ("presign.azure", "open_azure", "azure"),
    "gs": ("presign.gcs", "open_gcs", "gcs"),
}
# Elsewhere, the host is the bucket, and the whole path the prefix.
_SCHEMES_WITH_CONTAINER_IN_PATH = frozenset({"azblob"})


def open_backend(url: str) -> tuple[Backend, str]:
    """Return the backend and the prefix that an address names; the provider's SDK finds the credentials.

    - ``s3://bucket/prefix/?region=...``: see ``presign.s3.open_s3``
    - ``azblob://account/container/prefix/``: see ``presign.azure.open_azure``
    - ``gs://bucket/prefix/``: see ``presign.gcs.open_gcs``

    Raises ConfigurationError; if the provider's SDK is not installed, the message names the extra to install.

    ::

        backend, prefix = open_backend("s3://my-bucket/public/?region=eu-central-1")
    """
    return _find_opener(url)(url)


def check_address(url: str) -> None:
    """Raise the ConfigurationError of ``open_backend`` for an unknown scheme or a missing SDK; nothing is opened."""
    _find_opener(url)


def prefix_of_address(url: str) -> str:
    """Return the prefix that ``open_backend`` returns for an address, without its SDK and without opening it.

    Raises ConfigurationError for an unknown scheme, and for a prefix that some storages do not accept.
    """
    scheme = _scheme_of(url)
    path = urlsplit(url).path.removeprefix("/")
    return check_prefix(unquote(path.partition("/")[2] if scheme in _SCHEMES_WITH_CONTAINER_IN_PATH else path))


def _scheme_of(url: str) -> str:
    scheme, separator, _ = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not separator or scheme not in _OPENERS:
        schemes = ", ".join(f"{name}://" for name in _OPENERS)
        raise ConfigurationError(f"the address must begin with one of {schemes}", field="url")
    return scheme


def _find_opener(url: str) -> Callable[[str], tuple[Backend, str]]:
    scheme = _scheme_of(url)
    module_name, opener_name, extra = _OPENERS[scheme]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "presign":
            raise
        raise ConfigurationError(
            f'{scheme}:// needs {error.name}, which is not installed: pip install "presign-uploads[{extra}]"',
            field="url",
        ) from None
    opener: Callable[[str], tuple[Backend, str]] = getattr(module, opener_name)
    return opener
