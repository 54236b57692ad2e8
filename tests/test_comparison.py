"""Comparisons: who is compared, tests against scipy and plain counting, and a page that says the same."""

from __future__ import annotations

import html
import io
import itertools
import json
import re
import tomllib

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from scipy import stats

from irm_study.comparison import EXHIBITS, load_sides, write_comparison
from irm_study.comparison import sides as comparison_sides
from irm_study.comparison.endings import searches
from irm_study.comparison.measures import outcomes, pairs
from irm_study.comparison.sides import settings
from irm_study.comparison.verdict import caveats, paired_sentence, verdict
from irm_study.config import EnvironmentSpec, RunConfig, TrainSpec, run_digest, train_toml
from irm_study.errors import ConfigError
from irm_study.report import EXHIBITS as STUDY_EXHIBITS
from irm_study.results import table
from tests.synthetic import KINDS as STUDIES
from tests.synthetic import stored, study_record, study_spec

pytestmark = pytest.mark.filterwarnings("error")


def study(folder, name, **kind):
    changes = kind.pop("changes", {})
    return str(stored(study_record(folder / re.sub(r"\W", "-", name), spec=study_spec(name, **changes), **kind)))


def trained(folder, name, seeds, run=None, mode="invariant"):
    """What `irm-study train` leaves, its runs taken from a made-up study."""
    run, environments = run or RunConfig(hidden=64, epochs=201), EnvironmentSpec()
    spec = study_spec(name, run=run.model_dump(), search={})
    made = study_record(folder / "unused", trials=1, seeds=seeds, confirm_top=0, only=mode, spec=spec).runs
    rows = made.drop(columns="study").assign(stage="train", digest=run_digest("embedded", environments, run))
    table.write_part(folder / name, rows.to_dict("records"), environments)
    spec = TrainSpec(name=name, environments=environments, run=run)
    (folder / name / "train.toml").write_text(train_toml(spec, ""))
    return str(folder / name)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three studies: two alike, one of a single confirmed configuration on fewer seeds that stays with colour."""
    folder = tmp_path_factory.mktemp("three")
    return [
        study(folder, "irmv1", trials=8, confirm_seeds=12),
        study(folder, "vrex", trials=6, confirm_seeds=10, changes={"run": {"epochs": 151, "penalty": "vrex"}}),
        study(folder, "colour", trials=2, confirm_seeds=8, only="erm_like"),
    ]


def inside(side):
    return sum(mode == "invariant" for mode in side.runs["failure_mode"]), len(side.runs)


# Who is compared


def test_a_study_stands_for_its_best_confirmed_configuration_on_fresh_seeds_alone(tmp_path):
    record = study_record(tmp_path / "a", trials=8, confirm_top=3, spec=study_spec("a"))
    [side, _] = load_sides([str(stored(record)), study(tmp_path, "b", trials=1)])
    fresh = record.runs[record.runs["stage"] == "confirm"].groupby("trial")["score"].mean()
    assert side.trial == fresh.idxmax()
    assert set(side.runs["seed"]) == set(range(1000, 1008))
    assert set(side.runs["trial"]) == {side.trial}


def test_a_study_that_is_not_confirmed_stands_for_its_leader_and_the_page_says_so(tmp_path):
    given = [study(tmp_path, name, trials=3, confirm_top=0) for name in "ab"]
    sides = load_sides(given)
    assert {side.stage for side in sides} == {"search"}
    assert any("flatter" in note for note in caveats(sides, pairs(sides)))


def test_trials_of_one_study_are_named_behind_a_colon(tmp_path):
    folder = study(tmp_path, "a", trials=5, confirm_top=0)
    sides = load_sides([f"{folder}:3", f"{folder}:1"])
    assert [(side.trial, side.name) for side in sides] == [(3, "a, trial 3"), (1, "a, trial 1")]
    assert all(set(side.runs["trial"]) == {side.trial} for side in sides)


def test_a_trial_that_another_criterion_chose_stands_with_its_fresh_seeds(tmp_path):
    record = STUDIES["proven"](tmp_path)
    trial = int(record.runs.loc[record.runs["stage"] == "criterion", "trial"].iloc[0])
    side = comparison_sides._of_study(record, trial, f"a:{trial}")
    assert side.stage == "confirm" and set(side.runs["seed"]) == set(range(1000, 1008))


def test_a_folder_whose_name_ends_in_a_colon_and_digits_is_itself(tmp_path):
    folder = study(tmp_path, "a", trials=1)
    (tmp_path / "a").rename(tmp_path / "a:3")
    assert load_sides([f"{folder}:3", study(tmp_path, "b", trials=1)])[0].trial == 0


def test_runs_of_train_are_compared_by_the_configuration_last_trained(tmp_path):
    given = [trained(tmp_path, "first", 7), trained(tmp_path, "second", 5, mode="collapsed")]
    (tmp_path / "first" / "runs").joinpath("part-other.parquet").write_bytes(
        next((tmp_path / "second" / "runs").glob("part-*")).read_bytes()
    )
    first, second = load_sides(given)
    assert (len(first.runs), len(second.runs)) == (7, 5)
    success = pairs([first, second]).iloc[0]
    assert success["difference"] == 1


def test_studies_of_one_name_are_told_apart_by_their_folders(tmp_path):
    given = [study(tmp_path / each, "same", trials=1) for each in "ab"]
    assert [side.name for side in load_sides(given)] == [f"same ({folder})" for folder in given]


def test_sides_chosen_by_different_criteria_are_scored_by_one(tmp_path):
    given = [
        study(tmp_path, "a", trials=2, changes={"study": {"criterion": "oracle_min"}}),
        study(tmp_path, "b", trials=2, changes={"study": {"criterion": "oracle_success"}}),
    ]
    sides = load_sides(given)
    for side in sides:
        distance = np.minimum(side.runs["train_accuracy_min"] - 0.70, side.runs["test_accuracy"] - 0.60)
        distance = distance.mask(side.runs["failure_mode"] == "collapsed", -0.70)
        assert side.runs["score"].tolist() == pytest.approx(distance.tolist(), abs=1e-6)
    assert searches(sides).empty


@pytest.mark.parametrize(
    ("given", "said"),
    [(["A", "absent"], "absent: holds neither a study"), (["A:99", "B"], "of trial 99; trials of this study: 0, 1"),
     (["A", "A"], "the same configuration"), (["A", "empty"], "empty: no finished trial"),
     (["A", "T:0"], "have no trials")],
)  # fmt: skip
def test_what_cannot_be_compared_is_an_error_that_says_why(tmp_path, given, said):
    study(tmp_path, "A", trials=2), study(tmp_path, "B", trials=1), trained(tmp_path, "T", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "study.toml").write_text((tmp_path / "A" / "study.toml").read_text())
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_sides([str(tmp_path / each) for each in given])


# The tests


def test_success_rates_are_compared_by_boschloos_test_and_corrected_by_holm(three):
    sides = load_sides(three)
    table = pairs(sides)
    own = table[table["measure"] == "success"]
    expected = []
    for first, second in itertools.combinations(sides, 2):
        (k1, n1), (k2, n2) = inside(first), inside(second)
        expected.append(stats.boschloo_exact([[k1, k2], [n1 - k1, n2 - k2]]).pvalue)
    assert own["p_value"].tolist() == pytest.approx(expected)
    # Three pairs in three measures are nine tests.
    highest = 0.0
    for place, row in enumerate(table.sort_values("p_value").to_dict("records")):
        highest = max(highest, min(1, (9 - place) * row["p_value"]))
        assert row["p_holm"] == pytest.approx(highest)


def test_accuracies_are_compared_by_all_sign_flips_on_the_shared_seeds(three):
    sides = load_sides(three)
    row = pairs(sides).query("measure == 'test_accuracy' and second == 'colour'").iloc[0]
    shared = sorted(set(sides[0].runs["seed"]) & set(sides[2].runs["seed"]))
    first, second = (
        side.runs.set_index("seed")["test_accuracy"].loc[shared].to_numpy() for side in (sides[0], sides[2])
    )
    differences = np.nan_to_num(first) - np.nan_to_num(second)
    flipped = [abs(np.mean(differences * signs)) for signs in itertools.product((1, -1), repeat=len(shared))]
    observed = abs(differences.mean())
    assert (row["n_first"], row["n_second"]) == (8, 8)
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p_value"] == pytest.approx(np.mean([value >= observed - 1e-12 for value in flipped]))


def test_without_shared_seeds_nothing_is_paired_and_the_rest_is_tested(tmp_path):
    sides = load_sides([study(tmp_path, "a", trials=2), trained(tmp_path, "b", 4)])
    table = pairs(sides).set_index("measure")
    assert table.loc[["score", "test_accuracy"], "p_holm"].isna().all()
    assert np.isfinite(table.loc["success", "p_holm"])
    assert "share no seeds" in paired_sentence(pairs(sides))


def test_a_difference_is_claimed_only_where_the_test_shows_it(tmp_path):
    given = [trained(tmp_path, "good", 12), trained(tmp_path, "bad", 12, mode="collapsed"), trained(tmp_path, "few", 1)]
    for pair, opening in (
        ((0, 1), "good reaches the target zone more often than bad: on 12 of 12 seeds against 0 of 12 seeds"),
        ((1, 0), "good reaches the target zone more often than bad: on 12 of 12 seeds against 0 of 12 seeds"),
        ((0, 2), "Success rates not shown to differ: good"),
    ):
        sides = load_sides([given[place] for place in pair])
        said = verdict(outcomes(sides), pairs(sides))
        assert said.startswith(opening)
    sides = load_sides(given)
    said = verdict(outcomes(sides), pairs(sides))
    assert said.startswith(
        "1 of 3 pairs differs in success rate after Holm's correction; the highest rate is that of good"
    )
    assert said.endswith("more often in the target zone than bad.")


def test_where_no_run_reached_the_zone_none_is_called_the_highest(tmp_path):
    sides = load_sides([trained(tmp_path, name, 3, mode="collapsed") for name in "abc"])
    said = verdict(outcomes(sides), pairs(sides))
    assert said == "None of 3 configurations reached the target zone, on 9 runs in all."
    assert "highest" not in EXHIBITS["success_rates"].describe(sides).sentence


def test_settings_are_split_into_those_that_differ_and_the_rest(three):
    differ, same = settings(load_sides(three[:2]))
    assert differ["penalty"] == ["irmv1", "vrex"] and differ["epochs"] == [201, 151]
    assert same["digits"] == "embedded" and "penalty" not in same


# Exhibits and page

KINDS = {
    "two studies": lambda folder: [study(folder, name, trials=3) for name in "ab"],
    "one seed each": lambda folder: [study(folder, name, trials=1, confirm_seeds=1) for name in "ab"],
    "all diverged": lambda folder: [study(folder, name, trials=1, only="diverged") for name in "ab"],
    "a study and train": lambda folder: [study(folder, "a", trials=2), trained(folder, "b", 3)],
    "trials of one study": lambda folder: [f"{study(folder, 'a', trials=3, confirm_top=0)}:{each}" for each in (0, 2)],
    "six": lambda folder: [study(folder, name * 12, trials=2, seeds=2, confirm_seeds=3) for name in "abcdef"],
    "300 seeds": lambda folder: [trained(folder, mode, 300, mode=mode) for mode in ("invariant", "shape_not_learnt")],
    "hostile names": lambda folder: [
        study(folder, name, trials=1) for name in ("<script>alert('x')</script> $\\frac{1}{2}$", '色付き "& Ünï')
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """kind → sides, page and its folder, written once."""
    made = {}

    def of(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("comparison")
            given = KINDS[kind](folder)
            sides = load_sides(given)
            path = write_comparison(sides, given, folder / "out")
            made[kind] = sides, path.read_text(), folder / "out"
        return made[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_comparison_has_a_page_that_asks_for_nothing_and_its_figures_as_files(written, kind):
    _, text, folder = written(kind)
    figures = re.findall(r'<figure id="figure-(\w+)".*?</figure>', text, re.DOTALL)
    assert figures == list(EXHIBITS)
    for name in figures:
        assert (folder / "figures" / f"{name}.svg").is_file() and (folder / "figures" / f"{name}.png").is_file()
    assert not re.search(r"https?://|@import|url\((?!#)|<img|src=", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text)) <= {*ids, "mark-"}
    for caption in re.findall(r"<strong>(.*?)</strong>", text, re.DOTALL):
        assert caption.endswith(".") and not re.search(r"\bnan\b|None|\binf\b", caption), caption


def test_the_page_and_the_json_say_what_plain_counting_says(written):
    sides, text, folder = written("two studies")
    numbers = json.loads((folder / "comparison.json").read_text())
    cards = re.findall(r'<section class="card side".*?</section>', text, re.DOTALL)
    for side, card, row in zip(sides, cards, numbers["sides"], strict=True):
        successes, n = inside(side)
        assert f"{successes} of {n} fresh seeds in the target zone" in card
        assert f"95% interval {100 * row['low']:.0f}% to {100 * row['high']:.0f}%, n = {n}" in card
        assert (row["successes"], row["n"], row["chosen_of"]) == (successes, n, 1)
    assert [pair["success"]["n_first"] for pair in numbers["pairs"]] == [len(sides[0].runs)]


def test_names_are_printed_and_not_obeyed(written):
    sides, text, _ = written("hostile names")
    for side in sides:
        assert str(Markup.escape(side.name)) in text
    assert "<script>alert" not in text and text.count("<script") == 2 and text.count("</script") == 2


@pytest.mark.parametrize("kind", ["two studies", "a study and train", "hostile names"])
def test_a_copied_configuration_is_a_file_that_train_takes(written, kind):
    sides, text, _ = written(kind)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])
    for index, side in enumerate(sides):
        spec = TrainSpec.model_validate(tomllib.loads(html.unescape(data["trials"][str(index)]["head"])))
        assert (spec.run, spec.environments, spec.digits) == (side.run, side.environments, side.digits)


def test_the_same_comparison_gives_the_same_bytes_and_touches_no_file(tmp_path):
    given = [study(tmp_path, name, trials=1, confirm_seeds=2) for name in "ab"]
    folder = tmp_path / "out"
    write_comparison(load_sides(given), given, folder)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")}
    write_comparison(load_sides(given), given, folder)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")} == before


def test_a_study_s_own_folder_is_not_written_over(tmp_path):
    given = [study(tmp_path, name, trials=1) for name in "ab"]
    with pytest.raises(ConfigError, match="holds a study"):
        write_comparison(load_sides(given), given, tmp_path / "a")
    assert not (tmp_path / "a" / "figures").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXHIBITS)
def test_every_exhibit_draws_every_kind_of_comparison(written, kind, name):
    sides, _, _ = written(kind)
    figure = EXHIBITS[name].figure(sides)
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png", dpi=50)


def test_every_name_is_one_figure():
    for name in EXHIBITS.keys() & STUDY_EXHIBITS.keys():
        assert EXHIBITS[name].draw is STUDY_EXHIBITS[name].draw
