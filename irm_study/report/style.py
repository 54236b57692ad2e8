"""How figures look: the colours, markers and hatches of failure modes, the style, the sizes; and how they are saved.

The colours stay apart under the three kinds of colour blindness, the markers and hatches in grey print; a mode has the
same ones everywhere, on the page too. What is drawn with them (marks, bars, axes, legends) is in `marks`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from irm_study.diagnosis import FAILURE_MODES
from irm_study.errors import ExecutionError
from irm_study.files import write_bytes, write_text

Parameters = ParamSpec("Parameters")

MODE_COLOURS = {
    "invariant": "#00ca6a",
    "near_miss": "#708070",
    "relapsed": "#90a9ff",
    "unsettled": "#d090c8",
    "shape_lost": "#c058c0",
    "shape_not_learnt": "#880090",
    "leans_on_colour": "#f4a700",
    "penalty_met": "#a00008",
    "memorised": "#bcb2ac",
    "erm_like": "#dd3300",
    "anti_colour": "#0e4fd4",
    "collapsed": "#80537c",
    "diverged": "#aa2d40",
}
"""In the order in which modes are shown, from the target to the worst. Chosen by search: every pair is at least
19 apart (CIE 1976 colour difference) under simulated protanopia, deuteranopia and tritanopia, and each stands out
at least 2 : 1 from a white and from a dark page."""

MODE_MARKERS = {
    "invariant": "o",
    "near_miss": "8",
    "relapsed": "p",
    "unsettled": "<",
    "shape_lost": "d",
    "shape_not_learnt": ">",
    "leans_on_colour": "D",
    "penalty_met": "P",
    "memorised": "h",
    "erm_like": "^",
    "anti_colour": "v",
    "collapsed": "s",
    "diverged": "X",
}

MODE_HATCHES = {
    "invariant": "",
    "near_miss": "\\\\",
    "relapsed": "||||",
    "unsettled": "|||",
    "shape_lost": "xx",
    "shape_not_learnt": "++",
    "leans_on_colour": "//",
    "penalty_met": "///",
    "memorised": "+++",
    "erm_like": "/////",
    "anti_colour": "\\\\\\\\",
    "collapsed": "xxxx",
    "diverged": "----",
}
"""Of straight lines alone: hatches of circles weigh half a megabyte in an SVG."""

SPARE_STYLES = (("#2f8f9d", "*", "||//"), ("#7a7f1e", "H", "--//"))
"""Colour, marker and hatch of failure modes that have none above, in turn."""


def complete_styles(modes: Iterable[str]) -> None:
    """Give a spare style to each of the modes that has none: a new mode is seen before a style is chosen for it."""
    styles = itertools.cycle(SPARE_STYLES)
    for mode in modes:
        if mode not in MODE_COLOURS:
            MODE_COLOURS[mode], MODE_MARKERS[mode], MODE_HATCHES[mode] = next(styles)


complete_styles(FAILURE_MODES)

MODE_NAMES = {mode: mode.replace("_", "-").replace("erm", "ERM") for mode in MODE_COLOURS}

STAGE_NAMES = {
    "search": "search", "confirm": "confirmation", "criterion": "other criteria", "neighbour": "neighbours",
    "draws": "draws", "region": "region",
}  # fmt: skip
"""What the runs of a stage were trained for, in figures."""

STAGE_SEEDS = {"search": "search seeds", "confirm": "fresh seeds", "train": "seeds"}
"""Whose seeds the runs of a stage have, in legends."""

LINE_STYLES: dict[str, Any] = {"train": "-", "test": (0, (2.5, 1.2))}
"""Of curves, by environment; dashes in multiples of a line's width."""

BASELINE_STYLES: dict[str, Any] = {"plain risk minimisation": (0, (1, 1.2)), "grey oracle": (0, (5, 1.5, 1, 1.5))}
"""Of the lines at the means of baselines."""

ZONE: dict[str, Any] = {"color": MODE_COLOURS["invariant"], "alpha": 0.13, "linewidth": 0}
"""The shade of the target zone, in which a run is called invariant."""

INK, FAINT, GRID, PAPER = "#1f2328", "#6b7480", "#dce1e7", "#ffffff"
"""The four colours that are no data; the page replaces them by its own, light or dark."""

OF_FILES = ("savefig.", "svg.", "pdf.", "ps.", "pgf.")
"""Parameters of how figures are saved, not of how they look."""

DPI = 200
WIDE, NARROW = 6.75, 3.3
"""Inches: the text width and the column width of a two-column paper."""

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.05,
}


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draws under this module's style, whatever the notebook's is."""

    @functools.wraps(draw)
    def in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with own_settings(STYLE):
            return draw(*args, **kwargs)

    return in_style


class StyledFigure(Figure):
    """A figure that a notebook may show or save under any style of its own: what is looked up only then, as fonts are,
    is matplotlib's own. How files are written (`savefig.…`, `svg.…`) stays the notebook's choice."""

    def draw(self, renderer: RendererBase) -> None:
        with own_settings({key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key.startswith(OF_FILES)}):
            super().draw(renderer)


@contextlib.contextmanager
def own_settings(changes: Mapping[Any, Any]) -> Iterator[None]:
    """Matplotlib's own parameters with these changes, and numbers printed as numpy does by itself: an SVG is made of
    them. The process's settings are as before afterwards."""
    with matplotlib.rc_context(_defaults() | dict(changes)), np.printoptions(legacy=False):
        yield


def check_drawing() -> None:
    """Draw and save a small figure as the page's are; raise ExecutionError where that cannot be done here."""
    try:
        svg_and_png(_small_figure(), "small")
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ExecutionError(f"figures cannot be drawn here: {reason}") from error


@styled
def _small_figure() -> Figure:
    figure = StyledFigure((1.0, 1.0), layout="constrained")
    figure.subplots().set_title("$10^3$ runs")
    return figure


def svg_and_png(figure: Figure, name: str) -> tuple[str, bytes]:
    """A figure as SVG text and as PNG bytes, the same each time."""
    # Text stays text in the SVG: smaller, searchable, and read out; ids follow from the name alone.
    with own_settings({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.set_dpi(DPI)  # letters are wider where they are drawn finer: the room for them is measured so
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def write_figure(figure: Figure, folder: Path, name: str) -> str:
    """Write NAME.svg and NAME.png into a folder; returns the SVG."""
    svg, png = svg_and_png(figure, name)
    write_text(folder / f"{name}.svg", svg)
    write_bytes(folder / f"{name}.png", png)
    return svg


@functools.cache
def _defaults() -> dict[Any, Any]:
    """Matplotlib's own parameters, but for those that choose where it draws."""
    where = ("backend", "interactive", "toolbar", "webagg.", "tk.", "figure.max_open_warning", "figure.raise_window")
    return {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith(where)}
