"""The region of a study: found where it is, silent where nothing is, frozen before its proof, proven by real runs."""

from __future__ import annotations

import functools
import json
import math
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from irm_study.config import Range, StudySpec, read_region, read_study, read_train, run_digest
from irm_study.errors import ConfigError, ExecutionError
from irm_study.region import box as boxes
from irm_study.region import find_region, proof_points, proof_runs, proven
from irm_study.region.found import known_runs
from irm_study.report.region import sides
from irm_study.results import load_study
from irm_study.study import Settings, prove_region, run_study
from tests.test_cli import irm  # noqa: F401
from tests.test_study import Silent, Stop, StopAfter, few_digits, quick, stored_rows, trained_once  # noqa: F401

SEARCH = {
    "penalty_weight": {"low": 1e1, "high": 1e6, "log": True},
    "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "ramp": ["step", "linear", "cosine"],
}


def spec_of(search=SEARCH, **changes) -> StudySpec:
    return StudySpec.model_validate({"name": "a", "run": {"epochs": 201}, "search": search} | changes)


def runs_of(spec: StudySpec, works, count: int, seeds: int = 2, random_seed: int = 0) -> pd.DataFrame:
    """Runs of configurations drawn from the whole space, that succeed with probability works(parameters)."""
    random, rows = np.random.default_rng(random_seed), []
    for trial in range(count):
        drawn = {key: boxes._drawn(key, entry, random) for key, entry in spec.search.items()}
        config = spec.configure(drawn)
        digest = run_digest(spec.digits, spec.environments, config)
        for seed in range(seeds):
            mode = "invariant" if random.random() < works(drawn) else "erm_like"
            rows.append({"stage": "search", "trial": trial, "seed": seed, "digest": digest, **config.model_dump(),
                         "failure_mode": mode})  # fmt: skip
    return pd.DataFrame(rows)


def is_inside(parameters) -> bool:
    return 1e3 < parameters["penalty_weight"] < 1e5 and parameters["ramp"] != "cosine"


def best_of(runs: pd.DataFrame) -> str:
    return str((runs["failure_mode"] == "invariant").groupby(runs["digest"]).mean().idxmax())


# Where it is


@functools.cache
def known_study():
    """Its space, its runs, and the region found for a rate of 0.8."""
    spec = spec_of()
    runs = runs_of(spec, lambda parameters: 0.97 if is_inside(parameters) else 0.03, 80)
    return spec, runs, find_region(spec, runs, best_of(runs), 0.8)


def test_the_box_lies_mostly_where_runs_are_known_to_succeed():
    spec, _, region = known_study()
    drawn = [boxes.configuration(spec, region.box, seed)[0].model_dump() for seed in range(400)]
    assert np.mean([is_inside(each) for each in drawn]) > 0.9
    assert region.found.share > 0.25 * (2 / 5) * (2 / 3)  # of what there is to find
    assert region.found.loss < region.found.base_loss - 0.1


def test_the_box_holds_the_winner_or_what_else_it_was_grown_around():
    spec, runs, region = known_study()
    around = runs[runs["trial"] == region.found.trial].iloc[0]
    for key, own in region.box.items():
        assert own.low <= around[key] <= own.high if isinstance(own, Range) else around[key] in own
    again = find_region(spec, runs, around["digest"], 0.8)
    assert (again.found.trial, again.box) == (region.found.trial, region.box)
    worst = runs[(runs["failure_mode"] != "invariant") & (runs["ramp"] == "cosine")].iloc[0]
    assert find_region(spec, runs, worst["digest"], 0.8).found.trial != worst["trial"]


def test_a_rate_that_is_nowhere_predicted_gives_no_region():
    spec, runs, _ = known_study()
    with pytest.raises(
        ExecutionError, match=r"is success predicted above 99.9%; the highest prediction is \d+%, for tri"
    ):
        find_region(spec, runs, best_of(runs), 0.999)


def test_nothing_is_found_where_success_is_chance():
    """At most 5% of studies in which nothing matters may have a region; 4 or more of 20 have a chance of 1.6% then."""
    spec, claims = spec_of(), 0
    for number in range(20):
        runs = runs_of(spec, lambda _: 0.5, 24, random_seed=number)
        try:
            find_region(spec, runs, best_of(runs), 0.8)
            claims += 1
        except ExecutionError as error:
            assert "no region: " in str(error) and ("cannot be foreseen" in str(error) or "around none" in str(error))
    assert claims <= 3


@pytest.mark.parametrize(("rate", "text"), [
    (0.0, "of 20 runs of 20 configurations, 0 of them in the target zone, 0 configurations succeeded at least once"),
    (1.0, "nearly all of the search space works: search a larger one"),
])  # fmt: skip
def test_too_few_that_succeed_or_fail_are_refused_with_what_to_do(rate, text):
    spec = spec_of()
    runs = runs_of(spec, lambda _: rate, 20, seeds=1)
    with pytest.raises(ExecutionError, match=text):
        find_region(spec, runs, runs["digest"].iloc[0], 0.8)


def test_one_configuration_has_no_region():
    with pytest.raises(ConfigError, match="has one configuration alone"):
        find_region(spec_of({}, study={"trials": 1}), pd.DataFrame(), "", 0.8)


def test_runs_of_all_stages_count_whose_configurations_lie_in_the_search_space():
    spec = spec_of()
    runs = runs_of(spec, lambda _: 0.5, 4, seeds=1)
    others = []
    for stage, changed in (("confirm", {}), ("neighbour", {"penalty_weight": 2e6}), ("draws", {"initial_seed": 3}),
                           ("neighbour", {"learning_rate": 0.02}), ("region", {"learning_rate": 0.03})):  # fmt: skip
        config = spec.configure({key: runs.iloc[0][key] for key in spec.search}).model_copy(update=changed)
        others.append({"stage": stage, "trial": 0, "seed": 1000, **config.model_dump(), "failure_mode": "invariant",
                       "digest": run_digest(spec.digits, spec.environments, config)})  # fmt: skip
    known = known_runs(spec, pd.concat([runs, pd.DataFrame(others)], ignore_index=True))
    assert len(known.digests) == 4 + 2
    assert np.bincount(known.configuration).tolist() == [2, 1, 1, 1, 1, 1]


def test_what_has_no_effect_takes_no_part():
    """A step has no ramp epochs: however they are written down, it is one configuration."""
    spec = spec_of({"ramp": ["step", "linear"], "ramp_epochs": {"low": 10, "high": 60}})
    runs = runs_of(spec, lambda _: 0.5, 12, seeds=1)
    known = known_runs(spec, runs)
    steps = runs.loc[runs["ramp"] == "step", "digest"].nunique()
    assert steps == 1 and np.isnan(known.where[:, 1]).sum() == 1


# Boxes


def side(low, high, log=False, step=None) -> Range:
    return Range(low=low, high=high, log=log, step=step)


@pytest.mark.parametrize(("key", "own", "whole", "part"), [
    ("penalty_weight", side(1e2, 1e4, log=True), side(1e1, 1e5, log=True), 0.5),
    ("l2_weight", side(0.25, 0.5), side(0.0, 1.0), 0.25),
    ("anneal_epoch", side(3, 5), side(1, 10), 0.3),
    ("hidden", side(64, 96, step=32), side(32, 256, step=32), 0.25),
    ("ramp", ("step",), ("step", "linear", "cosine", "power"), 0.25),
    ("epochs", side(5, 5), side(5, 5), 1.0),
])  # fmt: skip
def test_the_share_of_a_side_is_what_it_takes_of_the_search(key, own, whole, part):
    assert boxes.part(key, own, whole) == pytest.approx(part)
    assert boxes.share({key: own, "x": (1,)}, {key: whole, "x": (1, 2)}) == pytest.approx(part / 2)


def test_drawn_configurations_are_spread_over_the_box_evenly():
    search = {"penalty_weight": side(1e2, 1e6, log=True), "l2_weight": side(0.1, 0.3), "anneal_epoch": side(3, 6),
              "hidden": side(32, 96, step=32), "ramp": ("linear", "cosine")}  # fmt: skip
    spec = StudySpec(name="a", search={key: entry if isinstance(entry, tuple) else entry.model_dump(exclude_none=True)
                                       for key, entry in search.items()})  # fmt: skip
    drawn = pd.DataFrame(boxes.configuration(spec, spec.search, seed)[0].model_dump() for seed in range(600))
    assert stats.kstest(np.log10(drawn["penalty_weight"]), stats.uniform(2, 4).cdf).pvalue > 0.01
    assert stats.kstest(drawn["l2_weight"], stats.uniform(0.1, 0.2).cdf).pvalue > 0.01
    for key, values in (("anneal_epoch", [3, 4, 5, 6]), ("hidden", [32, 64, 96]), ("ramp", ["cosine", "linear"])):
        counts = drawn[key].value_counts().sort_index()
        assert counts.index.tolist() == values and stats.chisquare(counts).pvalue > 0.01


def test_a_seed_draws_the_same_configuration_each_time_and_no_seed_is_the_search_s():
    spec, region = spec_of(study={"seeds": [0, 1_000_001]}), known_study()[2]
    few, more = proof_points(spec, region, 3), proof_points(spec, region, 5)
    assert more[:3] == few and [seed for seed, _, _ in few] == [1_000_000, 1_000_002, 1_000_003]
    assert len({digest for _, _, digest in more}) == 5


def test_ends_are_whole_numbers_steps_and_values_of_the_search():
    spec = spec_of({"anneal_epoch": {"low": 5, "high": 120}, "hidden": {"low": 32, "high": 256, "step": 32},
                    "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}})  # fmt: skip
    box, _ = boxes.grown(spec, lambda where: np.where((where > 0.33).all(1) & (where < 0.77).all(1), 0.9, 0.1),
                         [0.5, 0.5, 0.5], 0.8)  # fmt: skip
    for key, side_, width in (("anneal_epoch", box["anneal_epoch"], 115), ("hidden", box["hidden"], 224)):
        low, high = ((end - spec.search[key].low) / width for end in (side_.low, side_.high))
        assert isinstance(side_.low, int) and 0.33 < low < 0.5 < high < 0.77, key
    assert (box["hidden"].low - 32) % 32 == (box["hidden"].high - 32) % 32 == 0
    assert 1e-3 * 100**0.33 < box["learning_rate"].low < 0.01 < box["learning_rate"].high < 1e-3 * 100**0.77
    assert f"{box['learning_rate'].low:.3g}" == str(box["learning_rate"].low)


def test_a_later_attempt_has_a_wider_interval():
    _, (low, high) = proven(30, 40, 1)
    reference = stats.binomtest(30, 40).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high))
    reference = stats.binomtest(30, 40).proportion_ci(0.975, "wilson")
    assert proven(30, 40, 2).interval == pytest.approx((reference.low, reference.high))


# A whole study, with real runs

TINY = {
    "name": "tiny",
    "environments": {"channels": "grey", "label_noise": 0.0},
    "run": {"hidden": 8, "epochs": 40, "anneal_epoch": 39, "penalty_weight": 1.0},
    "search": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "activation": ["relu", "tanh"]},
    "study": {"trials": 24, "seeds": 1, "sampler": "random"},
    "confirm": {"top": 1, "seeds": 2},
}
"""A grey network's success is a matter of the learning rate."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("region") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("irm_study.data.load_digits", few_digits)
        run_study(StudySpec.model_validate(TINY), folder, Settings(), Silent())
    return folder


@pytest.fixture
def tiny(searched, tmp_path):
    """A searched study to change."""
    return Path(shutil.copytree(searched, tmp_path / "tiny"))


def prove(folder: Path, count: int = 6, rate=None, again=False, watcher=None):
    spec = load_study(folder).spec
    return prove_region(spec, folder, rate, count, again, Settings(), watcher or Silent())


def test_the_command_finds_proves_and_shows_a_region(irm, tiny):  # noqa: F811
    status, out, err = irm("region", tiny, "--proof", 6, "--jobs", 1, "--json")
    assert status == 0, err
    told = json.loads(out)
    region, runs = told["region"], pd.read_csv(tiny / "runs.csv")
    own = runs[runs["stage"] == "region"]
    assert told["trained"] == 6 and region["proof"]["seeds"] == len(own) == own["digest"].nunique() == 6
    assert region["proof"]["successes"] == (own["failure_mode"] == "invariant").sum()
    assert set(own["seed"]).isdisjoint(runs.loc[runs["stage"] != "region", "seed"])
    ends = region["box"]["learning_rate"]
    assert own["learning_rate"].between(ends["low"], ends["high"]).all()
    assert set(own["activation"]) <= set(region["box"]["activation"])
    known = runs[runs["stage"] != "region"]
    assert (region["runs"], region["successes"]) == (len(known), (known["failure_mode"] == "invariant").sum())
    page = (tiny / "report.html").read_text()
    assert "The region: ranges in which runs succeed" in page and "drawn from the region" in page
    assert (tiny / "figures" / "region.svg").is_file() and (tiny / "figures" / "region.png").is_file()
    assert len(pd.read_csv(tiny / "region.csv")) == 1 + 1 + 2


def test_it_goes_on_where_it_stopped_and_the_box_stays(tiny):
    with pytest.raises(Stop):
        prove(tiny, watcher=StopAfter(runs=1))
    box = (tiny / "region.toml").read_bytes()
    before = len(stored_rows(tiny))
    record, trained = prove(tiny)
    assert trained == 24 + 2 + 6 - before and trained_once(tiny)
    assert prove(tiny)[1] == 0
    assert prove(tiny, count=8)[1] == 2
    assert (tiny / "region.toml").read_bytes() == box and load_study(tiny).region == record.region


def test_another_rate_is_refused_and_again_looks_for_another_region_from_the_proof_too(tiny):
    first, _ = prove(tiny)
    with pytest.raises(ConfigError, match=r"was found for --rate 0.8, and its proof is of that region; got --rate 0.7"):
        prove(tiny, rate=0.7)
    second, trained = prove(tiny, again=True)
    old, new = first.region.found, second.region.found
    assert trained == 6 and (new.attempt, new.rate) == (2, 0.8)
    assert new.runs == old.runs + 6 and new.first_seed == 1_000_006
    seeds = proof_runs(second.spec, second.region, second.runs)["seed"]
    assert seeds.tolist() == list(range(1_000_006, 1_000_012))
    assert sides(second)["n"].iloc[0] == 6


def test_again_goes_on_with_a_proof_that_is_not_whole(tiny):
    prove(tiny)
    with pytest.raises(Stop):
        prove(tiny, again=True, watcher=StopAfter(runs=1))
    record, _ = prove(tiny, again=True)
    assert record.region.found.attempt == 2
    assert len(proof_runs(record.spec, record.region, record.runs)) == 6


def test_run_and_train_take_the_region_s_file(irm, tiny, tmp_path):  # noqa: F811
    record, _ = prove(tiny, count=1)
    path, box = tiny / "region.toml", record.region.box
    study = read_study(path)
    assert study.name == "tiny-region" and study.search == box
    middle = read_train(path).run
    low, high = box["learning_rate"].low, box["learning_rate"].high
    assert middle.learning_rate == pytest.approx(math.sqrt(low * high)) and middle.activation in box["activation"]
    status, out, err = irm("train", path, "--jobs", 1, "--out", tmp_path / "middle", "--json")
    assert status == 0, err
    assert len(json.loads(out)["runs"]) == 1
    status, _, err = irm("run", path, "--trials", 1, "--seeds", 1, "--jobs", 1, "--quiet", "--out", tmp_path / "narrow")
    assert status == 0, err
    assert low <= pd.read_csv(tmp_path / "narrow" / "runs.csv")["learning_rate"].iloc[0] <= high


def test_a_region_of_another_study_is_refused(tiny):
    prove(tiny, count=1)
    text = (tiny / "region.toml").read_text()
    high = tomllib.loads(text)["search"]["learning_rate"]["high"]
    (tiny / "region.toml").write_text(text.replace(f"high = {high}", "high = 0.9"))
    with pytest.raises(ConfigError, match=r"region.toml: search.learning_rate: must lie in the study's; got"):
        load_study(tiny)
    (tiny / "region.toml").write_text(text.replace("attempt = 1", "attempt = 'x'"))
    with pytest.raises(ConfigError, match=r"region.toml: region: attempt"):
        read_region(tiny / "region.toml", StudySpec.model_validate(TINY))


def test_a_study_that_tells_no_region_ends_with_a_message_and_status_1(irm, tiny):  # noqa: F811
    status, _, err = irm("region", tiny, "--rate", 0.999, "--jobs", 1)
    assert status == 1 and "no region: around none of 24 configurations is success predicted above 99.9%" in err
    assert not (tiny / "region.toml").exists()
    status, _, err = irm("region", tiny, "--rate", 1.5)
    assert status == 2 and "--rate: must lie between 0 and 1; got 1.5" in err
