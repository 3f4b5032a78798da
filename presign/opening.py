"""A backend from its address, importing no SDK but its own."""

from __future__ import annotations

from importlib import import_module

from presign.backend import Backend
from presign.errors import ConfigurationError

# Where each scheme's backend is made, and the extra that brings its SDK.
_OPENERS = {
    "s3": ("presign.s3", "open_s3", "s3"),
    "azblob": ("presign.azure", "open_azure", "azure"),
    "gs": ("presign.gcs", "open_gcs", "gcs"),
}


def open_backend(url: str) -> tuple[Backend, str]:
    """Return the backend and the prefix of an address; the credentials are those that the provider's SDK finds.

    - ``s3://bucket/prefix/?region=...``: see ``presign.s3.open_s3``
    - ``azblob://account/container/prefix/``: see ``presign.azure.open_azure``
    - ``gs://bucket/prefix/``: see ``presign.gcs.open_gcs``

    Raises ConfigurationError, which names the extra to install where the provider's SDK is missing.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _OPENERS:
        schemes = ", ".join(f"{name}://" for name in _OPENERS)
        raise ConfigurationError(f"the address must begin with one of {schemes}", field="url")
    module_name, opener_name, extra = _OPENERS[scheme]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "presign":
            raise
        raise ConfigurationError(
            f'{scheme}:// needs the package of {error.name}: pip install "presign[{extra}]"', field="url"
        ) from None
    opened: tuple[Backend, str] = getattr(module, opener_name)(url)
    return opened
