"""Every exhibit draws every kind of study without a warning, and the tables behind them hold the right numbers."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections import Counter

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import stats

from irm_study.diagnosis import FAILURE_MODES, reference_levels
from irm_study.errors import ConfigError
from irm_study.report import EXHIBITS, panels, style
from irm_study.report.accuracy import LINES, quantile_band
from irm_study.report.failure_map import map_keys, map_marks
from irm_study.report.failure_regions import failure_shares
from irm_study.report.failures import curves
from irm_study.report.map_places import map_axis, placed
from irm_study.report.profile import profile
from irm_study.report.runs import configurations, leading
from irm_study.report.search import cost, progress, savings
from irm_study.report.text import printable, short
from tests.synthetic import KINDS, conditional, importance_of, long_names, study_record, study_spec

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The exhibits of each kind of study, described once."""
    made = {}

    def of(kind):
        if kind not in made:
            record = KINDS[kind](tmp_path_factory.mktemp("study"))
            made[kind] = {name: exhibit.describe(record) for name, exhibit in EXHIBITS.items()}
        return made[kind]

    return of


@pytest.fixture
def record(tmp_path):
    return study_record(tmp_path)


# Figures


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXHIBITS)
def test_every_exhibit_draws_every_kind_of_study(described, kind, name):
    figure = described(kind)[name].figure()
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png", dpi=50)


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_is_drawn_from_a_record_alone(record, described, name):
    def png(figure):
        figure.savefig(file := io.BytesIO(), format="png", dpi=50)
        return file.getvalue()

    assert png(EXHIBITS[name].figure(record)) == png(described("plain")[name].figure())


def test_a_figure_leaves_the_global_style_and_pyplot_alone(described):
    import matplotlib.pyplot as plt

    before, open_figures = dict(matplotlib.rcParams), plt.get_fignums()
    for each in described("plain").values():
        each.figure()
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == open_figures


def test_a_figure_looks_the_same_under_any_style_of_the_notebook(described):
    plain = style.svg_and_png(described("plain")["trade_off"].figure(), "trade_off")
    with matplotlib.rc_context({"font.size": 20, "axes.prop_cycle": "cycler('color', ['red'])", "lines.marker": "x",
                                "scatter.marker": "*", "savefig.bbox": "tight", "font.family": "serif"}):  # fmt: skip
        assert style.svg_and_png(described("plain")["trade_off"].figure(), "trade_off") == plain


@pytest.mark.parametrize("name", EXHIBITS)
def test_no_text_is_cut_off_or_too_small_to_read(described, name):
    figure = described("plain")[name].figure()
    figure.draw_without_rendering()
    assert all(text.get_fontsize() >= 6.5 for text in figure.findobj(matplotlib.text.Text) if text.get_text())
    shown = [ax for ax in figure.axes if ax.get_visible()]
    labels = [label for ax in shown for label in (ax.xaxis.label, ax.yaxis.label, ax._left_title)]
    labels += [label for ax in shown for label in ax.get_yticklabels() if _within(label.get_position()[1], ax)]
    for text in [*labels, *figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]:
        box, page = text.get_window_extent(), figure.bbox
        if text.get_text():
            assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1, text.get_text()


def _within(value, ax):
    low, high = sorted(ax.get_ylim())
    return low <= value <= high


def test_every_failure_mode_has_its_own_colour_marker_and_hatch():
    for kind in (style.MODE_COLOURS, style.MODE_MARKERS, style.MODE_HATCHES, style.MODE_NAMES):
        assert set(kind) == set(FAILURE_MODES)
        assert len(set(kind.values())) == len(kind)


# Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def test_a_mode_without_a_style_of_its_own_gets_a_spare_one(monkeypatch):
    kinds = ("MODE_COLOURS", "MODE_MARKERS", "MODE_HATCHES")
    for name in kinds:
        monkeypatch.setattr(style, name, dict(getattr(style, name)))
    before = style.MODE_COLOURS["invariant"]
    style.complete_styles([*FAILURE_MODES, "new", "newer"])
    assert [getattr(style, name)["new"] for name in kinds] == list(style.SPARE_STYLES[0])
    assert [getattr(style, name)["newer"] for name in kinds] == list(style.SPARE_STYLES[1])
    assert style.MODE_COLOURS["invariant"] == before


def linear(colour):
    channel = np.array(to_rgb(colour))
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def lab(light):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ light
    x, y, z = np.where((t := xyz / [0.9505, 1, 1.089]) > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_mode_colours_stay_apart_under_colour_blindness(kind):
    seen = {
        mode: lab(np.clip(np.array(BLINDNESS[kind]) @ linear(colour), 0, 1))
        for mode, colour in style.MODE_COLOURS.items()
    }
    for first, second in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 19, (first, second)


@pytest.mark.parametrize("page", ["#ffffff", "#181c22"])
def test_mode_colours_stand_out_from_a_light_and_a_dark_page(page):
    weights = [0.2126, 0.7152, 0.0722]
    for mode, colour in style.MODE_COLOURS.items():
        dark, light = sorted([linear(colour) @ weights, linear(page) @ weights])
        assert (light + 0.05) / (dark + 0.05) > 1.9, mode


def test_names_that_the_font_cannot_print_become_squares_and_no_mathematics():
    assert printable("色$x$") == "\N{WHITE SQUARE}" + r"\$x\$"
    assert len(printable("a" * 100)) <= 24


def test_spare_places_of_a_grid_are_empty_and_panels_above_them_keep_their_tick_labels():
    figure, axes = panels(5, 3, lambda rows: 1.5 * rows)
    assert figure.get_size_inches().tolist() == [style.WIDE, 3.0]
    assert len(axes) == 5 and [ax.get_visible() for ax in figure.axes] == [True] * 5 + [False]
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes] == [False, False, True, True, True]
    figure, axes = panels(3, 2, lambda rows: rows, width=style.NARROW, share_x=False)
    assert [ax.get_visible() for ax in figure.axes] == [True] * 3 + [False]
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in axes)
    assert axes[0].get_shared_y_axes().joined(axes[0], axes[2])


# Tables


def test_success_rates_equal_a_plain_count_with_wilsons_interval(record):
    table = configurations(record).set_index("trial")
    for trial, runs in record.runs[record.runs["stage"] == "search"].groupby("trial"):
        inside = sum(mode == "invariant" for mode in runs["failure_mode"])
        interval = stats.binomtest(inside, len(runs)).proportion_ci(method="wilson")
        row = table.loc[trial]
        assert (row["search_successes"], row["search_n"]) == (inside, len(runs))
        assert row["search_rate"] == inside / len(runs)
        assert (row["search_low"], row["search_high"]) == pytest.approx((interval.low, interval.high))


def test_iqm_of_the_test_accuracy_cuts_a_quarter_at_each_end(record):
    table = configurations(record)
    row = table[table["fresh_n"] > 0].iloc[0]
    runs = record.runs[(record.runs["stage"] == "confirm") & (record.runs["trial"] == row["trial"])]
    middle = sorted(runs["test_accuracy"])[2:-2]
    assert len(runs) == 8
    assert row["fresh_test"] == pytest.approx(sum(middle) / len(middle))
    assert row["fresh_test_low"] <= row["fresh_test"] <= row["fresh_test_high"]


def test_diverged_runs_count_as_zero_in_the_iqm(tmp_path):
    table = configurations(study_record(tmp_path, only="diverged"))
    assert (table["search_test"] == 0).all()
    assert (table["search_successes"] == 0).all()


def test_the_confirmed_configuration_leads_and_the_rest_follow_by_value(tmp_path):
    record = study_record(tmp_path, trials=20, confirm_top=3)
    ranking = leading(record, top=20)
    fresh = record.runs[record.runs["stage"] == "confirm"].groupby("trial")["score"].mean()
    assert ranking[:3] == fresh.sort_values(ascending=False).index.tolist()
    values = record.trials.set_index("trial")["value"].loc[ranking[3:]].tolist()
    assert values == sorted(values, reverse=True)
    assert sorted(ranking) == list(range(20))


def test_trials_of_one_configuration_share_its_runs(record):
    best = leading(record)[0]
    twin = record.trials[record.trials["trial"] == best].assign(trial=99)
    record.__dict__["trials"] = pd.concat([record.trials, twin], ignore_index=True)
    table = configurations(record).set_index("trial")
    assert table.loc[99, "search_n"] == table.loc[best, "search_n"] == 4
    assert 99 not in leading(record, top=100)


def test_mode_shares_add_up_to_one_in_each_bin(record):
    shares = failure_shares(record)
    assert set(shares["hyperparameter"]) == set(record.spec.search)
    sums = shares.groupby(["hyperparameter", "bin"])["share"].sum()
    assert np.allclose(sums, 1)
    runs = shares.drop_duplicates(["hyperparameter", "bin"]).groupby("hyperparameter")["n"].sum()
    assert (runs == 48).all()
    inside = (shares["low"] <= shares["share"] + 1e-12) & (shares["share"] <= shares["high"] + 1e-12)
    assert inside.all()


def test_shares_along_a_choice_equal_a_cross_table(record):
    shares = failure_shares(record)
    search = record.runs[record.runs["stage"] == "search"]
    expected = pd.crosstab(search["ramp"], search["failure_mode"], normalize="index")
    for row in shares[shares["hyperparameter"] == "ramp"].itertuples():
        assert row.share == pytest.approx(expected.loc[row.label, row.failure_mode])


def test_best_so_far_never_falls_and_ignores_unfinished_trials(tmp_path):
    record = study_record(tmp_path, trials=8, running=2, confirm_top=0)
    table = progress(record)
    best = -math.inf
    for row in table.itertuples():
        if row.state == "complete":
            best = max(best, row.value)
        assert row.best == best
    assert table["value"].isna().sum() == 2


def test_curves_of_many_runs_become_few_lines_and_ordered_bands(tmp_path):
    record = study_record(tmp_path, trials=30)
    lines, bands = curves(record)
    assert (lines.groupby("failure_mode")["run"].nunique() <= LINES).all()
    counts = record.runs["failure_mode"].value_counts()
    assert set(bands["failure_mode"]) == set(counts[counts > LINES].index)
    assert (bands["low"] <= bands["median"]).all() and (bands["median"] <= bands["high"]).all()


def test_the_profile_is_the_share_of_runs_above_the_threshold(record):
    ranking = leading(record)
    table = profile(record, ranking)
    fresh = record.runs[record.runs["stage"] == "confirm"]["test_accuracy"].to_numpy()
    first = table[table["rank"] == 0]
    for row in first.itertuples():
        assert row.share == (fresh > row.threshold).sum() / len(fresh)
    assert (first["stage"] == "confirm").all()


def test_cost_counts_every_run_once(record):
    table = cost(record)
    assert table["runs"].sum() == len(record.runs)
    assert table["seconds"].sum() == pytest.approx(record.runs["seconds"].sum())


def test_savings_are_epochs_that_were_not_trained_and_runs_that_were_not_asked(tmp_path):
    record = study_record(tmp_path, trials=4, seeds=4, confirm_top=0)
    runs, trials = record.runs, record.trials
    assert savings(record) == {"shared": 0, "stopped": 0, "spared": 0}
    runs.loc[runs["trial"] == 0, "epochs_trained"] = 101  # of 201
    runs.loc[runs["trial"] == 1, "shared_epochs"] = 50
    trials.loc[trials["trial"] == 3, "state"] = "pruned"
    lost = (runs["trial"] == 3) & (runs["seed"] > 0)
    record.__dict__["runs"] = runs[~lost]
    epochs = 13 * 201
    expected = {"shared": 4 * 50 / epochs, "stopped": 4 * 100 / epochs, "spared": 3 / 16}
    assert savings(record) == pytest.approx(expected)
    sentence = EXHIBITS["cost"].describe(record).sentence
    assert "15% of the epochs by ending runs early" in sentence and "19% of the search's runs by racing" in sentence


def test_a_band_begins_where_nearly_all_runs_have_begun(tmp_path):
    runs = [{"epoch": np.arange(0.0, 51), "test": np.full(51, 0.8), "anneal_epoch": anneal} for anneal in (10, 20, 30)]
    band = quantile_band(runs, "test", False)
    assert band["since_anneal"].min() == pytest.approx(-10, abs=1)
    assert band["since_anneal"].max() == pytest.approx(30, abs=1)


def test_marks_of_the_map_are_the_runs_of_the_search(record):
    marks, _ = map_marks(record)
    assert len(marks) == (record.runs["stage"] == "search").sum()
    assert (marks.groupby("trial")["place"].max() + 1 == marks.groupby("trial")["n"].first()).all()


# The failure map follows what was searched


def drawn_marks(figure):
    """Panel, x and y of every mark of a run, in the figure's own units; the dots in the middle of clusters left out."""
    return [
        (ax.get_title(loc="left"), *point)
        for ax in figure.axes
        for marks in ax.collections
        if len(marks.get_sizes()) and marks.get_sizes().max() > 2
        for point in marks.get_offsets().data
    ]


def test_the_map_has_the_two_most_important_hyperparameters_and_panels_for_a_choice(record):
    shares = importance_of({"learning_rate": 0.5, "penalty_weight": 0.4, "ramp": 0.1})
    record = dataclasses.replace(record, importance=shares)
    keys = map_keys(record)
    assert (keys.x.key, keys.y.key, keys.panel.key) == ("learning_rate", "penalty_weight", "ramp")
    unknown = map_keys(dataclasses.replace(record, importance={}))
    assert (unknown.x.key, unknown.y.key) == tuple(record.spec.search)[:2]
    named = map_keys(record, x="ramp", y="anneal_epoch")
    assert (named.x.key, named.y.key, named.panel) == ("ramp", "anneal_epoch", None)


def test_the_map_refuses_what_was_not_searched(record):
    for axes, text in (({"x": "hidden"}, "'hidden' was not searched"), ({"x": "ramp", "y": "ramp"}, "'ramp' twice")):
        with pytest.raises(ConfigError, match=text):
            EXHIBITS["failure_map"].figure(record, **axes)


@pytest.mark.parametrize("kind", ["two keys", "two grids", "choices over decades", "whole numbers", "one key", "plain"])
def test_every_run_has_a_mark_of_its_own_in_the_map(described, kind):
    made = described(kind)["failure_map"]
    marks = {(panel, round(x, 9), round(y, 9)) for panel, x, y in drawn_marks(made.figure())}
    assert len(marks) == len(made.tables[0]) >= 48


def test_marks_stay_in_the_cells_of_their_choices(described):
    marks, keys = described("two grids")["failure_map"].tables
    assert (keys.x.choices, keys.y.choices) in (((0.001, 0.01), (0.0, 0.01)), ((0.0, 0.01), (0.001, 0.01)))
    cells = [(round(x), round(y)) for _, x, y in drawn_marks(described("two grids")["failure_map"].figure())]
    assert Counter(cells) == Counter(zip(marks["x"], marks["y"], strict=True))
    for _, x, y in drawn_marks(described("two grids")["failure_map"].figure()):
        assert abs(x - round(x)) < 0.46 and abs(y - round(y)) < 0.46


@pytest.mark.parametrize("kind", ["whole numbers", "two keys", "500 trials"])
def test_a_mark_is_nearer_to_its_own_values_than_to_any_others_that_were_tried(described, kind):
    marks, keys = described(kind)["failure_map"].tables
    x, y = map_axis(keys.x, marks["x"], 420), map_axis(keys.y, marks["y"], 126)
    for _, own in placed(marks, x, y).groupby("panel"):
        tried = own[["x", "y"]].drop_duplicates().to_numpy()
        for row in own.itertuples():
            far = np.hypot((tried[:, 0] - row.right) * x.points, (tried[:, 1] - row.up) * y.points)
            across = np.abs(tried - [row.right, row.up])
            nearest = tried[far.argmin()]
            in_cell = across[:, 0].min() == abs(row.x - row.right) and across[:, 1].min() == abs(row.y - row.up)
            assert in_cell or (nearest == [row.x, row.y]).all()


def test_numbers_beside_choices_stand_at_their_values(described):
    marks, keys = described("long names")["failure_map"].tables
    number, choice = ("y", "x") if keys.x.choices else ("x", "y")
    assert getattr(keys, choice).key == "ramp"
    drawn = drawn_marks(described("long names")["failure_map"].figure())
    assert sorted(point["xy".index(number) + 1] for point in drawn) == pytest.approx(sorted(marks[number]))


def test_runs_to_which_an_axis_does_not_apply_stand_beyond_all_values(tmp_path):
    record = conditional(tmp_path)
    made = EXHIBITS["failure_map"].describe(record, x="ramp_epochs", y="penalty_weight")
    silent = record.runs["ramp"] == "step"
    searched = record.runs["stage"] == "search"
    count = int((silent & searched).sum())
    assert f"Ramp epochs does not apply to {count} runs" in made.sentence
    highest = record.runs.loc[searched & ~silent, "ramp_epochs"].max()
    xs = [x for _, x, _ in drawn_marks(made.figure())]
    assert sum(x > highest + 1 for x in xs) >= count and len(xs) == searched.sum()


# Choices stay choices


def test_choices_of_numbers_are_bins_of_their_own_in_declared_order(described):
    shares = described("choices over decades")["failure_shares"].tables[0]
    labels = {key: list(dict.fromkeys(own["label"])) for key, own in shares.groupby("hyperparameter")}
    assert labels == {
        "penalty_weight": ["1", "10", "100", "10000", "1e6"],
        "anneal_epoch": ["40", "5", "120"],
        "hidden": ["512", "64", "8", "128", "16", "256", "32"],
    }
    assert (shares[["low_edge", "high_edge"]] == "").all(axis=None)


def test_choices_of_every_type_keep_their_order_and_names_that_differ(described):
    shares = described("choices of every type")["failure_shares"].tables[0]
    labels = {key: list(dict.fromkeys(own["label"])) for key, own in shares.groupby("hyperparameter")}
    assert labels == {
        "rescale": ["True", "False"],
        "batch_size": ["128", "64"],
        "across": ["sum", "mean"],
        "ramp_exponent": ["2.0", "2.00001", "1"],
    }
    assert shares.drop_duplicates(["hyperparameter", "bin"]).groupby("hyperparameter")["n"].sum().eq(120).all()


def test_none_is_a_choice_where_it_was_declared_as_one(tmp_path):
    record = study_record(tmp_path, trials=30, spec=study_spec(search={"batch_size": [64, None, 128]}))
    shares = failure_shares(record)
    assert list(dict.fromkeys(shares["label"])) == ["64", "not set", "128"]
    assert shares.drop_duplicates("bin")["n"].sum() == 120 and (shares["without_it"] == 0).all()
    assert map_marks(record)[0]["x"].isin([0, 1, 2]).all()


def test_a_range_is_cut_into_bins_however_few_values_came_up(tmp_path):
    record = study_record(tmp_path, trials=2, spec=study_spec(search={"layers": {"low": 1, "high": 9}}))
    shares = failure_shares(record)
    assert len(shares.drop_duplicates("bin")) == record.trials["layers"].nunique() == 2
    assert (shares["low_edge"] != "").all()


def test_shares_leave_out_runs_to_which_a_hyperparameter_does_not_apply(tmp_path):
    record = conditional(tmp_path)
    shares = failure_shares(record).drop_duplicates(["hyperparameter", "bin"]).groupby("hyperparameter")
    runs = record.runs[record.runs["stage"] == "search"]
    for key, ramps in (("ramp_epochs", ["power", "linear"]), ("ramp_exponent", ["power"]), ("ramp", None)):
        applies = len(runs) if ramps is None else int(runs["ramp"].isin(ramps).sum())
        assert shares["n"].sum()[key] == applies
        assert shares["without_it"].first()[key] == len(runs) - applies
    titles = {ax.get_title(loc="left") for ax in EXHIBITS["failure_shares"].figure(record).axes}
    assert f"ramp epochs (not in {int((runs['ramp'] == 'step').sum())} runs)" in titles


@pytest.mark.parametrize("name", ["failure_shares", "failure_map"])
@pytest.mark.parametrize("kind", ["long names", "choices over decades", "choices of every type", "hostile names"])
def test_names_of_choices_do_not_print_over_each_other(described, kind, name):
    figure = described(kind)[name].figure()
    figure.set_dpi(style.DPI)
    figure.draw_without_rendering()
    for ax in (ax for ax in figure.axes if ax.get_visible()):
        shown = [label for label in ax.get_xticklabels() if label.get_text() and label.get_visible()]
        assert len({label.get_text() for label in shown}) == len(shown)
        level = [label.get_window_extent() for label in shown if label.get_rotation() == 0]
        for left, right in itertools.pairwise(sorted(level, key=lambda box: box.x0)):
            assert left.x1 < right.x0
        aslant = [ax.transData.transform((label.get_position()[0], 0))[0] for label in shown if label.get_rotation()]
        for left, right in itertools.pairwise(sorted(aslant)):
            assert (right - left) * math.sin(math.radians(35)) > 7.5 * style.DPI / 72


def test_panels_of_long_names_that_begin_alike_have_titles_that_differ(tmp_path):
    figure = EXHIBITS["failure_map"].figure(long_names(tmp_path), x="penalty_weight", y="anneal_epoch")
    titles = [ax.get_title(loc="left").partition(":")[0] for ax in figure.axes]
    assert len(set(titles)) == len(titles) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.678, "12300"), (0.0033, "0.0033"), (5e-4, "5e-4"), (1e6, "1e6"), (0, "0"), (41, "41"), (True, "True"),
     ("step", "step"), (1.23456, "1.23"), (None, "not set")],
)  # fmt: skip
def test_short_numbers_keep_three_digits(value, text):
    assert short(value) == text


def test_other_environments_move_the_target_zone(tmp_path):
    spec = study_spec(environments={"label_noise": 0.1})
    levels = reference_levels(spec.environments)
    record = study_record(tmp_path, spec=spec)
    shows = EXHIBITS["seed_stability"].describe(record).shows
    assert f"training ≥ {100 * levels.target_train:.0f}%" in shows
