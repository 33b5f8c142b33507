"""Drawings as inline SVG for an HTML page: ids of their own, colours that the page can set.

Colours are CSS variables with a fallback, so that a page can give each its own value for a light
and a dark background. Text stays text.
"""

import re
from html import escape
from xml.etree import ElementTree

COLORS = {
    "ink": "#3a4350",
    "grid": "#dfe3e8",
    "hr": "#1d2530",
    "bicubic": "#7a8391",
    "srresnet": "#1667c7",
    "srgan": "#c2500d",
    "other-1": "#157f52",
    "other-2": "#7b46c9",
    "other-3": "#a3386c",
}
"""Names of the colours, and what they are where no style sheet sets ``--chart-<name>``."""

_COORDINATES = {"d", "x", "y", "width", "height", "transform"}
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STAND_INS = {name: f"#0101{index:02x}" for index, name in enumerate(COLORS)}
"""matplotlib knows no CSS variables: it draws in these colours, which stand for them."""


def as_inline(document: str, key: str, description: str) -> str:
    """An SVG document as an element of a page: own ids, its colours variables, nothing global."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(document)  # noqa: S314 (made by matplotlib just now)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        if (name := element.attrib.pop("id", None)) is not None:
            element.set("id", f"{key}-{name}")
        if (target := element.attrib.pop(f"{{{_XLINK}}}href", None)) is not None:
            element.set("href", f"#{key}-{target.removeprefix('#')}")
        for name in _COORDINATES.intersection(element.attrib):
            element.set(name, _LONG_NUMBER.sub(_shortened, element.attrib[name]))
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": "\0",  # filled in last, so that nothing is replaced in it
        "class": "chart",
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
    svg = ElementTree.tostring(root, encoding="unicode")
    svg = svg.replace("url(#", f"url(#{key}-")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    for name, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--chart-{name}, {COLORS[name]})")
    return svg.replace("\0", escape(description, quote=True))


def _shortened(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}"
