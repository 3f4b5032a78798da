"""The headers of an object, under the names that each cloud gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from presign.messages import Grant


@dataclass(frozen=True, kw_only=True)
class HeaderNames:
    """The names that a cloud's uploads use for the headers that the object will have."""

    metadata_prefix: str
    content_disposition: str = "Content-Disposition"
    cache_control: str = "Cache-Control"

    def of_object(self, grant: Grant) -> dict[str, str]:
        """Return the granted content disposition, cache control and metadata as headers or form fields."""
        headers: dict[str, str] = {}
        if grant.content_disposition is not None:
            headers[self.content_disposition] = grant.content_disposition
        if grant.cache_control is not None:
            headers[self.cache_control] = grant.cache_control
        for name, value in grant.metadata.items():
            headers[f"{self.metadata_prefix}{name}"] = value
        return headers

    def metadata(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the metadata in a response's headers; names are in lower case, without the prefix."""
        lowered = {name.lower(): value for name, value in headers.items()}
        prefix = self.metadata_prefix
        return {name.removeprefix(prefix): value for name, value in lowered.items() if name.startswith(prefix)}
