"""Horizontal bars on a logarithmic scale, as an SVG that reads well on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 860
_LABELS = 300
_VALUES = 110
_ROW = 22
_BAR = 14
_GROUP_GAP = 34
_TOP = 56
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .group { font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; }
  .grid { stroke: #d1d9e0; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .small { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
  }
"""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a label, its length on the scale, what is written beside it, and whether it is presign's."""

    label: str
    value: float
    text: str
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[Bar]


def draw(*, title: str, subtitle: str, groups: Sequence[Group]) -> str:
    """Return the SVG; the scale is logarithmic, common to all groups, and marked at powers of ten."""
    values = [bar.value for group in groups for bar in group.bars]
    low = 10 ** math.floor(math.log10(min(values)) - 0.15)
    high = 10 ** math.ceil(math.log10(max(values)))
    height = _TOP + sum(_GROUP_GAP + _ROW * len(group.bars) for group in groups) + 30

    def x(value: float) -> float:
        share = math.log(value / low) / math.log(high / low)
        return _LABELS + share * (_WIDTH - _LABELS - _VALUES)

    parts = [_text(16, 26, title, "title"), _text(16, 44, subtitle, "small")]
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        mark = 10.0**power
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{_TOP}" y2="{height - 26}"/>')
        parts.append(_text(x(mark), height - 10, f"{mark:g}", "small", anchor="middle"))
    y = _TOP
    for group in groups:
        parts.append(_text(16, y + _GROUP_GAP - 12, group.title, "group"))
        y += _GROUP_GAP
        for bar in group.bars:
            kind = "bar ours" if bar.ours else "bar"
            width = max(x(bar.value) - _LABELS, 1)
            parts.append(_text(_LABELS - 8, y + 12, bar.label, anchor="end"))
            parts.append(f'<rect class="{kind}" x="{_LABELS}" y="{y + 1}" width="{width:.1f}" height="{_BAR}" rx="2"/>')
            parts.append(_text(_LABELS + width + 6, y + 12, bar.text))
            y += _ROW
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, content: str, kind: str = "", *, anchor: str = "start") -> str:
    css_class = f' class="{kind}"' if kind else ""
    return f'<text{css_class} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
