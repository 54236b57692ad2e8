"""What pages are made of: pictures as files and as part of a page, marks, and the templates' common names.

Which pictures a page shows, and what stands between them, is the page's own (`report`, `comparison_report`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.markers import MarkerStyle

from irm_study import tables
from irm_study.comparison_figures import COMPARISON_FIGURES
from irm_study.drawing import FAINT, GRID, INK, MODE_COLOURS, MODE_MARKERS, MODE_NAMES, PAPER, words, write_figure
from irm_study.figures import FIGURES
from irm_study.findings import Picture, percent
from irm_study.stability_figures import STABILITY_FIGURES

DRAWN = FIGURES | STABILITY_FIGURES | COMPARISON_FIGURES


def rendered(template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """A page as text, from its template. filters: more than the common ones."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irm_study"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "short": tables.short, "words": words, **(filters or {})}
    environment.globals |= {
        "mode_names": MODE_NAMES,
        "mode_colours": MODE_COLOURS,
        "mode_paths": {mode: marker_path(mode) for mode in MODE_COLOURS},
    }
    return environment.get_template(template).render(**values)


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> dict[str, Markup]:
    """Write each picture as SVG and PNG into a folder; returns by name the SVG that stands in the page."""
    folder.mkdir(parents=True, exist_ok=True)
    inlined = {}
    for index, picture in enumerate(pictures):
        svg = write_figure(DRAWN[picture.name](*picture.data), folder, picture.name)
        inlined[picture.name] = Markup(inline_svg(svg, picture, f"f{index}"))
    return inlined


def inline_svg(svg: str, picture: Picture, own: str) -> str:
    """The SVG as it stands in the page: page colours for ink and paper, ids that begin with `own`, a title and a
    description."""
    body = svg[svg.index("<svg") :]
    width, height = (float(value) for value in re.findall(r'\b(?:width|height)="([\d.]+)pt"', body)[:2])
    body = body[body.index(">") + 1 :]
    for needless in (r"<metadata>.*?</metadata>", r"<!--.*?-->"):
        body = re.sub(needless, "", body, flags=re.DOTALL)
    body = re.sub(r' (d|x|y|transform|points)="([^"]*)"', _rounded, body)
    body = re.sub(r"<g([^>]*)>((?:\s*<use [^>]*/>){2,})\s*</g>", _hoisted, body)
    # Only ids that something refers to stay, and are this picture's own.
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{own}{match[1]}"' if match[1] in wanted else "", body)
    body = re.sub(r'((?:xlink:)?href="|url\()#', lambda match: f"{match[1].removeprefix('xlink:')}#{own}", body)
    for colour, variable in ((INK, "ink"), (FAINT, "faint"), (GRID, "grid"), (PAPER, "paper")):
        body = body.replace(colour, f"var(--{variable})")
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{own}title {own}desc" '
        f'style="--width: {width / 72:g}in">'
        f'<title id="{own}title">{Markup.escape(picture.title)}</title>'
        f'<desc id="{own}desc">{Markup.escape(f"{picture.shows} {picture.concludes}")}</desc>'
    )
    return re.sub(r"\s*\n\s*", "\n", head + body)


def marker_path(mode: str) -> str:
    """A mode's marker as the `d` of an SVG path within (-1, 1)²."""
    style = MarkerStyle(MODE_MARKERS[mode])
    outline = style.get_path().transformed(style.get_transform())
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        # SVG's y axis points down.
        pairs = " ".join(f"{x:.3g} {-y:.3g}" for x, y in points.reshape(-1, 2))
        parts.append("Z" if code == 79 else f"{letters[code]}{pairs}")
    return "".join(parts)


# Their parts


def _rounded(match: re.Match[str]) -> str:
    numbers = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), match[2])
    return f' {match[1]}="{numbers}"'


def _hoisted(match: re.Match[str]) -> str:
    """Marks of one style say it once, in their group: half the weight of a picture of many runs."""
    styles = set(re.findall(r' style="([^"]*)"', match[2]))
    if len(styles) != 1 or "style=" in match[1]:
        return match[0]
    marks = re.sub(r' style="[^"]*"', "", match[2])
    return f'<g{match[1]} style="{styles.pop()}">{marks}</g>'
