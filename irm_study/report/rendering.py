"""How pages are written: exhibits as files and as part of a page, and the templates with their common names.

Which exhibits a page shows, and what stands between them, is the page's own (`page`, and the comparison's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from irm_study.report.exhibit import Description
from irm_study.report.style import MODE_COLOURS, MODE_NAMES, write_figure
from irm_study.report.svg import inline_svg, marker_path
from irm_study.report.text import percent, short, words


def rendered(template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """A page as text, from its template. filters: more than the common ones."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irm_study.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    common: dict[str, Callable[..., Any]] = {"percent": percent, "short": short, "words": words}
    environment.filters |= common | dict(filters or {})
    environment.globals |= {
        "mode_names": MODE_NAMES,
        "mode_colours": MODE_COLOURS,
        "mode_paths": {mode: marker_path(mode) for mode in MODE_COLOURS},
    }
    return environment.get_template(template).render(**values)


def write_exhibits(folder: Path, exhibits: Sequence[Description]) -> dict[str, Markup]:
    """Write each exhibit's figure as SVG and PNG into a folder; returns by name the SVG that stands in the page."""
    folder.mkdir(parents=True, exist_ok=True)
    inlined = {}
    for index, each in enumerate(exhibits):
        svg = write_figure(each.figure(), folder, each.name)
        inlined[each.name] = Markup(inline_svg(svg, each.title, f"{each.shows} {each.sentence}", f"f{index}"))
    return inlined
