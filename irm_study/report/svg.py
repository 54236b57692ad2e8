"""A figure's SVG as it stands in a page, and the markers of failure modes as SVG paths.

What matplotlib wrote is read as XML (only what matplotlib wrote: it is not made for a stranger's) and made smaller and
part of the page: no metadata, short numbers, ids of its own, the page's colours. Files of figures stay as matplotlib
wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.markers import MarkerStyle

from irm_study.report.style import FAINT, GRID, INK, MODE_MARKERS, PAPER

PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)", PAPER: "var(--paper)"}
"""Colours that are no data, and what the page has in their place, light or dark."""
COLOURED = ("style", "fill", "stroke")
MEASURED = ("d", "x", "y", "transform", "points")
"""Attributes that hold coordinates."""
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
URL = re.compile(r"url\(#([^)]*)\)")
SHORTEST_GROUP = 2
"""Marks of one style in a group from which on the group says it."""


def inline_svg(svg: str, title: str, description: str, prefix: str) -> str:
    """The SVG as it stands in a page: page colours for ink and paper, ids that begin with `prefix`, a title and a
    description."""
    drawn = ElementTree.fromstring(svg)
    width, height = (float(drawn.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    root = Element(
        "svg",
        {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-labelledby": f"{prefix}title {prefix}desc",
         "style": f"--width: {width / 72:g}in"},
    )  # fmt: skip
    for name, text in (("title", title), ("desc", description)):
        ElementTree.SubElement(root, name, {"id": f"{prefix}{name}"}).text = text
    root.extend(each for each in drawn if _local(each.tag) != "metadata")
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        _shorten(element)
        _hoist_style(element)
        _colour(element)
    _own_ids(root[2:], prefix)
    return ElementTree.tostring(root, encoding="unicode")


def marker_path(mode: str) -> str:
    """A mode's marker as the `d` of an SVG path within (-1, 1)²."""
    style = MarkerStyle(MODE_MARKERS[mode])
    outline = style.get_path().transformed(style.get_transform())
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        # SVG's y axis points down.
        pairs = " ".join(f"{x:.3g} {-y:.3g}" for x, y in points.reshape(-1, 2))
        parts.append("Z" if code == 79 else f"{letters[int(code)]}{pairs}")
    return "".join(parts)


def _local(name: str) -> str:
    """A name without its namespace: HTML knows what is SVG's, and `href` needs none."""
    return name.rpartition("}")[2]


def _shorten(element: Element) -> None:
    """Numbers to a hundredth of a point, and no blanks between elements but a line's end."""
    for key in MEASURED:
        if key in element.attrib:
            short = LONG_NUMBER.sub(
                lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), element.attrib[key]
            )
            element.attrib[key] = " ".join(short.split())
    if element.text and not element.text.strip():
        element.text = "\n"
    if element.tail and not element.tail.strip():
        element.tail = "\n"


def _hoist_style(element: Element) -> None:
    """Marks of one style say it once, in their group: half the weight of a figure of many runs."""
    marks = list(element)
    if "style" in element.attrib or len(marks) < SHORTEST_GROUP:
        return
    styles = {mark.attrib.get("style") for mark in marks}
    if len(styles) == 1 and None not in styles and all(_local(mark.tag) == "use" for mark in marks):
        element.attrib["style"] = marks[0].attrib["style"]
        for mark in marks:
            del mark.attrib["style"]


def _colour(element: Element) -> None:
    for key in COLOURED:
        if key in element.attrib:
            for colour, variable in PAGE_COLOURS.items():
                element.attrib[key] = element.attrib[key].replace(colour, variable)


def _own_ids(elements: list[Element], prefix: str) -> None:
    """Only ids that something refers to stay, and begin with the prefix."""
    inside = [element for each in elements for element in each.iter()]
    referred = {name for element in inside for name in _references(element)}
    for element in inside:
        for key, value in element.attrib.items():
            if key == "href":
                element.attrib[key] = f"#{prefix}{value.removeprefix('#')}"
            else:
                element.attrib[key] = URL.sub(lambda found: f"url(#{prefix}{found[1]})", value)
        if "id" in element.attrib:
            name = element.attrib.pop("id")
            if name in referred:
                element.attrib["id"] = f"{prefix}{name}"


def _references(element: Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        if key == "href":
            yield value.removeprefix("#")
        else:
            yield from URL.findall(value)
