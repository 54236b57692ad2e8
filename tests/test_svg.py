"""SVG as it stands in a page: ids of its own, marks that say their style once, short numbers, the page's colours."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline

from irm_study.report import MODE_COLOURS, styled
from irm_study.report.style import FAINT, GRID, INK, PAPER, svg_and_png
from irm_study.report.svg import inline_svg, marker_path

HEAD = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="144pt" height="72.5pt" viewBox="0 0 144 72.5"
 xmlns="http://www.w3.org/2000/svg" version="1.1">
"""


def inlined(body, title="A title", description="What it shows."):
    text = inline_svg(f"{HEAD}{body}</svg>", title, description, "f3")
    return text, ElementTree.fromstring(text)


def test_the_root_has_size_role_title_and_description():
    text, root = inlined("<g/>", title='a < b & "c"', description="</desc><script>")
    assert text.startswith("<svg ") and "xmlns" not in text and "<?xml" not in text
    assert root.attrib == {
        "viewBox": "0 0 144 72.5", "role": "img", "aria-labelledby": "f3title f3desc", "style": "--width: 2in",
    }  # fmt: skip
    title, description = root[:2]
    assert (title.tag, title.get("id"), title.text) == ("title", "f3title", 'a < b & "c"')
    assert (description.tag, description.get("id"), description.text) == ("desc", "f3desc", "</desc><script>")
    assert "<script>" not in text


def test_metadata_and_comments_are_left_out():
    text, root = inlined('<metadata><x xmlns="http://purl.org/dc/">somebody</x></metadata><!-- a comment --><g/>')
    assert [each.tag for each in root] == ["title", "desc", "g"]
    assert "somebody" not in text and "comment" not in text and "http" not in text


def test_ids_that_nothing_refers_to_go_and_the_others_are_the_figure_s_own():
    _, root = inlined(
        '<defs><path id="m1" d="M 0 0"/><clipPath id="p1"/><pattern id="h1"/></defs>'
        '<g id="axes_1" clip-path="url(#p1)"><use xlink:href="#m1" x="1"/><path style="fill: url(#h1)" d="M 0 0"/></g>'
    )
    group = root.find("g")
    assert [each.get("id") for each in root.find("defs")] == ["f3m1", "f3p1", "f3h1"]
    assert "id" not in group.attrib and group.get("clip-path") == "url(#f3p1)"
    assert group.find("use").attrib == {"href": "#f3m1", "x": "1"}
    assert group.find("path").get("style") == "fill: url(#f3h1)"


def test_marks_of_one_style_say_it_once_in_their_group():
    mark = '<use xlink:href="#m" x="{}" style="{}"/>'
    _, root = inlined(
        f"<g>{mark.format(1, 'fill: red')}{mark.format(2, 'fill: red')}</g>"
        f"<g>{mark.format(1, 'fill: red')}{mark.format(2, 'fill: blue')}</g>"
        f'<g>{mark.format(1, "fill: red")}<use xlink:href="#m" x="2"/></g>'
        f'<g style="stroke: none">{mark.format(1, "fill: red")}{mark.format(2, "fill: red")}</g>'
        f"<g>{mark.format(1, 'fill: red')}</g>"
        f'<g>{mark.format(1, "fill: red")}<path style="fill: red" d="M 0 0"/></g>'
    )
    styles = [(group.get("style"), [each.get("style") for each in group]) for group in root.findall("g")]
    assert styles == [
        ("fill: red", [None, None]),
        (None, ["fill: red", "fill: blue"]),
        (None, ["fill: red", None]),
        ("stroke: none", ["fill: red", "fill: red"]),
        (None, ["fill: red"]),
        (None, ["fill: red", "fill: red"]),
    ]


def test_coordinates_are_short_and_texts_are_left_as_they_are():
    _, root = inlined(
        '<path d="M 1.23456 -0.50049 \nL 12.3000001 7.999&#10;z"/><text x="0.12345" transform="rotate(-0 48.1334 2.5)"'
        ' style="font-size: 7.12345px">1.23456</text>'
    )
    assert root.find("path").get("d") == "M 1.23 -0.5 L 12.3 8 z"
    text = root.find("text")
    assert (text.get("x"), text.get("transform")) == ("0.12", "rotate(-0 48.13 2.5)")
    assert (text.get("style"), text.text) == ("font-size: 7.12345px", "1.23456")


@pytest.mark.parametrize(
    ("colour", "variable"), [(INK, "--ink"), (FAINT, "--faint"), (GRID, "--grid"), (PAPER, "--paper")]
)
def test_ink_and_paper_become_the_page_s_and_data_keep_their_colours(colour, variable):
    data = MODE_COLOURS["collapsed"]
    _, root = inlined(f'<g style="fill: {colour}; stroke: {data}"><rect fill="{colour}"/><text>{colour}</text></g>')
    group = root.find("g")
    assert group.get("style") == f"fill: var({variable}); stroke: {data}"
    assert group.find("rect").get("fill") == f"var({variable})"
    assert group.find("text").text == colour


def test_a_figure_of_matplotlib_s_keeps_every_mark_and_text_and_gives_the_same_bytes():
    @styled
    def draw():
        figure = Figure((2, 2))
        ax = figure.subplots()
        ax.scatter(range(7), range(7), color=MODE_COLOURS["invariant"])
        ax.set_xscale("log")
        ax.set_title("a & b <c>")
        return figure

    drawn = svg_and_png(draw(), "name")[0]
    text = inline_svg(drawn, "A title", "What it shows.", "f0")
    assert text == inline_svg(svg_and_png(draw(), "name")[0], "A title", "What it shows.", "f0")
    root, before = ElementTree.fromstring(text), ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    for tag in ("use", "path", "text", "tspan", "clipPath"):
        assert len(list(root.iter(tag))) == len(list(before.iter(space + tag)))
    assert "a & b <c>" in [each.text for each in root.iter("text")]
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids)) and all(each.startswith("f0") for each in ids)
    assert {each.get("href")[1:] for each in root.iter("use")} <= set(ids)
    assert len(text) < 0.8 * len(drawn)


@pytest.mark.parametrize("mode", MODE_COLOURS)
def test_a_mode_s_marker_is_a_path_within_the_unit_square(mode):
    letters = marker_path(mode)
    assert letters.startswith("M") and letters.endswith("Z")
    numbers = [float(each) for each in letters.translate(str.maketrans("MLQCZ", "     ")).split()]
    assert len(numbers) >= 6 and max(map(abs, numbers)) <= 1
    assert {Outline.MOVETO, Outline.CLOSEPOLY} == {1, 79}
