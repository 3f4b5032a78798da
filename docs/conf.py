"""Sphinx's settings for the documentation site, which ``make docs`` builds."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "presign"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

# Each reference must lead somewhere, but the types of other projects and type variables have no page here.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!presign\b).*"), ("py:class", r"presign\..*\.(T|Key)")]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "presign"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
# The search and the reference's own pages find every name.
html_use_index = False
html_domain_indices = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

PUBLIC_MODULES = ("presign", "presign.s3", "presign.azure", "presign.gcs", "presign.testing", "presign.django")


@cache
def _public_names() -> dict[str, str]:
    """Return the public name of each object, under the name that annotations have: where the object is defined."""
    names = {}
    for module in map(import_module, PUBLIC_MODULES):
        for name in module.__all__:
            defined_in = getattr(getattr(module, name), "__module__", module.__name__)
            names[f"{defined_in}.{name}"] = f"{module.__name__}.{name}"
    return names


def _find_public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Resolve a reference to ``presign.messages.Grant`` as one to ``presign.Grant``."""
    name = _public_names().get(node.get("reftarget"))
    if node.get("refdomain") != "py" or name is None:
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def setup(app: Any) -> None:
    """Tell Sphinx what to call."""
    app.connect("missing-reference", _find_public_name)
