"""The page of a comparison: its sentences, its pictures, `compare.html`, and the same numbers as JSON."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from irm_study import comparison, tables
from irm_study.comparison import SIGNIFICANT, Side
from irm_study.config import ConfigError
from irm_study.drawing import MODE_COLOURS, MODE_NAMES, p_text
from irm_study.failures import landmarks
from irm_study.findings import DIGITS, SMALL, Picture, chosen_by, counted, interval, percent
from irm_study.page import rendered, write_pictures
from irm_study.records import finite, mode_counts, refuse_studies, write_text
from irm_study.studyfile import study_digest

SECTION = "comparison"
SEEDS = {"confirm": "fresh seed", "search": "search seed", "train": "seed"}
MEASURES = {"success": "success rate", "score": "score", "test_accuracy": "test accuracy"}
FEWEST_SHARED = 6
"""Shared seeds below which sign flips cannot reach p = 0.05."""


def write_comparison(sides: Sequence[Side], given: Sequence[str], folder: Path) -> Path:
    """Write compare.html, comparison.json and figures/ into a folder; returns the page's path.

    Raises ConfigError where the folder holds a study or runs, whose own figures would be lost.
    """
    refuse_studies(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = describe(sides)
        inlined = write_pictures(folder / "figures", pictures)
        write_text(folder / "comparison.json", json.dumps(finite(comparison.summary(sides)), indent=2) + "\n")
        write_text(folder / "compare.html", page(sides, given, pictures, inlined))
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return folder / "compare.html"


def page(sides: Sequence[Side], given: Sequence[str], pictures: list[Picture], inlined: dict[str, Any]) -> str:
    outcomes, pairs = comparison.outcomes(sides), comparison.pairs(sides)
    differ, same = comparison.settings(sides)
    cards = []
    for index, (side, row) in enumerate(zip(sides, outcomes.to_dict("records"), strict=True)):
        counts = mode_counts(side.runs)
        cards.append(
            row
            | {
                "index": index,
                "seeds": SEEDS[side.stage],
                "folder": str(side.folder),
                "eyes": "the one that 'train' was given" if side.record is None
                else f"the trial that was named, of {counted(len(side.record.trials), 'trial')}" if not side.best
                else f"the best of {counted(len(side.record.trials), 'trial')}; {chosen_by(side.record.spec)}",
                "modes": [(mode, counts[mode]) for mode in MODE_COLOURS if mode in counts],
                "digest": None if side.record is None else study_digest(side.record.spec),
                "provenance": {} if side.record is None else side.record.provenance,
            }
        )  # fmt: skip
    return rendered(
        "compare.html.j2",
        {"signed": signed, "p_value": lambda value: p_text(value).removeprefix("p ").removeprefix("= ")},
        names=[side.name for side in sides],
        cards=cards,
        verdict=verdict(outcomes, pairs),
        paired=paired_sentence(pairs) if len(sides) == 2 else "",
        caveats=caveats(sides, pairs),
        pairs=[row | {"measure": MEASURES[row["measure"]]} for row in pairs.to_dict("records")],
        many=len(sides) > 2,
        criterion=sides[0].criterion,
        pictures=pictures,
        inlined=inlined,
        differ=differ,
        same=same,
        command=shlex.join(["irm-study", "compare", *given]),
        digits=_digits(sides),
        details={"base": "", "trials": {str(index): _toml(side) for index, side in enumerate(sides)}},
    )


# Sentences


def verdict(outcomes: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """One sentence on which side reaches the target zone more often, no stronger than the tests allow."""
    rows = outcomes.set_index("name")
    reached = {
        name: f"{row['successes']} of {counted(int(row['n']), SEEDS[row['stage']])}" for name, row in rows.iterrows()
    }
    success = pairs[pairs["measure"] == "success"]
    found = success[success["p_holm"] < SIGNIFICANT]
    if len(outcomes) == 2:
        row = success.iloc[0]
        first, second = row["first"], row["second"]
        span = f"95% interval {signed(row['low'])} to {signed(row['high'])}"
        if found.empty:
            return (
                f"Success rates not shown to differ: {first} reached the target zone on {reached[first]}, {second} on "
                f"{reached[second]}; difference {signed(row['difference'])} points ({span}; {p_text(row['p_holm'])})."
            )
        better, worse = (first, second) if row["difference"] > 0 else (second, first)
        return (
            f"{better} reaches the target zone more often than {worse}: on {reached[better]} against {reached[worse]}; "
            f"{first} minus {second} is {signed(row['difference'])} points ({span}; {p_text(row['p_holm'])})."
        )
    top = outcomes.loc[outcomes["rate"].idxmax()]
    leads = (
        f"{top['name']} has the highest rate, {reached[top['name']]} (95% interval {interval(top['low'], top['high'])})"
    )
    if top["rate"] == 0:
        return f"None of {len(outcomes)} configurations reached the target zone, on {outcomes['n'].sum()} runs in all."
    if found.empty:
        return f"No two of {len(outcomes)} configurations are shown to differ in success rate; {leads}."
    beaten = [
        row["second"] if row["first"] == top["name"] else row["first"]
        for row in found.to_dict("records")
        if top["name"] in (row["first"], row["second"])
    ]
    over = f"more often in the target zone than {' and '.join(beaten)}" if beaten else "yet shown to lead over none"
    verb = "differs" if len(found) == 1 else "differ"
    differ = f"{len(found)} of {counted(len(success), 'pair')} {verb} in success rate after Holm's correction"
    return f"{differ}; {leads}, {over}."


def paired_sentence(pairs: pd.DataFrame) -> str:
    """What two sides' shared seeds say of the test accuracy."""
    row = pairs[pairs["measure"] == "test_accuracy"].iloc[0]
    first, second, n = row["first"], row["second"], int(row["n_first"])
    if n == 0:
        return "They share no seeds, so that score and test accuracy are not compared run by run."
    span = f", 95% interval {signed(row['low'])} to {signed(row['high'])}" if math.isfinite(row["low"]) else ""
    told = f"by {signed(row['difference'])} points ({counted(n, 'shared seed')}{span}; {p_text(row['p_holm'])})"
    chance = "" if row["p_holm"] < SIGNIFICANT else ", not shown to be more than chance"
    return f"On the seeds that both have, the test accuracy of {first} differs from that of {second} {told}{chance}."


def caveats(sides: Sequence[Side], pairs: pd.DataFrame) -> list[str]:
    """What a reader should hold against the verdict."""
    notes = []
    if len({side.digits for side in sides}) > 1:
        notes.append("The digits differ: what is compared is not the method alone.")
    if any(side.environments != sides[0].environments for side in sides):
        notes.append("The environments differ, and the target zone with them; each side is judged by its own.")
    for side in sides:
        if side.stage == "search":
            notes.append(f"{side.name} has no fresh seeds: those that chose it flatter it.")
        elif len(side.runs) < SMALL:
            notes.append(f"{side.name}: n = {len(side.runs)} is small; read the interval, not the rate.")
    criteria = {side.record.spec.study.criterion for side in sides if side.record is not None}
    if len(criteria) > 1:
        notes.append(f"The studies chose by different criteria; all scores here are {sides[0].criterion}.")
    shared = pairs.loc[pairs["measure"] == "test_accuracy", "n_first"]
    if (shared < FEWEST_SHARED).any():
        notes.append(f"With fewer than {FEWEST_SHARED} shared seeds a paired test cannot reach p = 0.05.")
    return notes


def describe(sides: Sequence[Side]) -> list[Picture]:
    """Every picture of the page with its tables, what it shows, and what follows."""
    outcomes, pairs = comparison.outcomes(sides), comparison.pairs(sides)
    points, lines = comparison.seed_points(sides), comparison.curves(sides)
    profiles, modes, searches = comparison.profiles(sides), comparison.modes(sides), comparison.searches(sides)
    zones = landmarks(sides[0].environments)
    alike = all(side.environments == sides[0].environments for side in sides)
    zone = (
        f"the shade is the target zone (training ≥ {percent(zones.target_train)}, test ≥ {percent(zones.target_test)}"
    )
    zone += ")" if alike else f", of {sides[0].name})"
    corrected = ", p corrected by Holm over the pairs" if len(sides) > 2 else ""
    return [
        Picture(
            "success_rates", "Success rates", SECTION,
            "Share of each configuration's runs that ended in the target zone, with Wilson's 95% interval; hollow "
            "where the seeds are those that chose it.",
            conclude_rates(outcomes), (outcomes,),
        ),
        Picture(
            "performance_profile", "Performance profile", SECTION,
            "How many of a configuration's runs beat each test accuracy; the band is a 95% interval of the first, at "
            "one threshold at a time. A steep line is a stable configuration.",
            conclude_profiles(profiles, zones.target_test), (profiles, zones),
        ),
        Picture(
            "differences", "Differences, pair by pair", SECTION,
            "Success rates by Boschloo's test, seeds as if not shared; score and test accuracy run by run on shared "
            f"seeds, by sign flips. 95% intervals of each difference; filled where p is below 0.05{corrected}.",
            conclude_differences(pairs), (pairs,),
        ),
        Picture(
            "seed_stability", "Every seed", SECTION,
            f"Accuracy at the end of every run; {zone}, the numbers count runs inside it.",
            conclude_spread(points), (points, tables.seed_summary(points), zones),
        ),
        Picture(
            "side_modes", "How the runs ended", SECTION,
            "Every run, by the first failure mode whose rule applies at its end.",
            conclude_endings(modes), (modes,),
        ),
        Picture(
            "side_curves", "Training curves", SECTION,
            "Training (solid) and test accuracy (dashed) of every run, in the colour of the mode in which it ended"
            + (f"; at most {tables.LINES} runs each." if (outcomes["n"] > tables.LINES).any() else "."),
            conclude_curves(lines[1]), lines,
        ),
        Picture(
            "side_searches", "The searches that they come from", SECTION,
            "The objective value of every trial of each study, marked by the mode most of its runs ended in: a method "
            "whose trials lie close to its best forgives its hyperparameters.",
            conclude_searches(searches), (searches,),
        ),
    ]  # fmt: skip


def conclude_rates(outcomes: pd.DataFrame) -> str:
    top = outcomes.loc[outcomes["rate"].idxmax()]
    if top["rate"] == 0:
        return "No run of any configuration reached the target zone."
    return (
        f"The highest is {top['name']}'s, {percent(top['rate'])} "
        f"(95% interval {interval(top['low'], top['high'])}, n = {top['n']})."
    )


def conclude_differences(pairs: pd.DataFrame) -> str:
    parts = []
    for measure, name in MEASURES.items():
        own = pairs[pairs["measure"] == measure]
        tested = own[own["p_holm"].notna()]
        if tested.empty:
            parts.append(f"{name}: no shared seeds")
        else:
            parts.append(f"{name}: {int((tested['p_holm'] < SIGNIFICANT).sum())} of {counted(len(tested), 'pair')}")
    return f"Shown to differ in {'; '.join(parts)}."


def conclude_spread(points: pd.DataFrame) -> str:
    test = points[points["environment"] == "test"].assign(accuracy=lambda each: each["accuracy"].fillna(0.0))
    spread = test.groupby("configuration", sort=False)["accuracy"].agg(["min", "max"])
    each = ", ".join(f"{name} {100 * row['min']:.0f} to {percent(row['max'])}" for name, row in spread.iterrows())
    return f"Test accuracy over seeds: {each}."


def conclude_endings(modes: pd.DataFrame) -> str:
    parts = []
    for name, own in modes.groupby("name", sort=False):
        row = own.loc[own["runs"].idxmax()]
        parts.append(f"{name} {MODE_NAMES[row['failure_mode']]} ({row['runs']} of {own['runs'].sum()})")
    return f"The commonest ending: {', '.join(parts)}."


def conclude_profiles(profiles: pd.DataFrame, threshold: float) -> str:
    nearest = profiles["threshold"].unique()[abs(profiles["threshold"].unique() - threshold).argmin()]
    at = profiles[profiles["threshold"] == nearest]
    each = ", ".join(f"{row.configuration} {percent(row.share)}" for row in at.itertuples())
    return f"Runs above {percent(nearest)} in test: {each}."


def conclude_curves(bands: pd.DataFrame) -> str:
    last = bands[bands["environment"] == "test"].groupby("name", sort=False).tail(1)
    if last.empty:
        return "Too few runs for a median."
    each = ", ".join(
        f"{row.name_} {percent(row.median)}" for row in last.rename(columns={"name": "name_"}).itertuples()
    )
    return f"Median test accuracy at the end: {each}."


def conclude_searches(searches: pd.DataFrame) -> str:
    if searches.empty:
        return "There is nothing to compare."
    spread = searches.groupby("name", sort=False)["value"].agg(["median", "max", "size"])
    each = "; ".join(
        f"{name} median {row['median']:.3f}, best {row['max']:.3f} ({counted(int(row['size']), 'trial')})"
        for name, row in spread.iterrows()
    )
    return f"Objective values: {each}."


def signed(value: float) -> str:
    """A difference of fractions in points."""
    return f"{100 * value:+.1f}".replace("-", "−") if round(100 * value, 1) else "0"


def _digits(sides: Sequence[Side]) -> str:
    return "; ".join(dict.fromkeys(DIGITS[side.digits] for side in sides))


def _toml(side: Side) -> dict[str, Any]:
    """The configuration as a file for `irm-study train`."""
    text = tomli_w.dumps(
        {
            "name": side.name[:200],
            "digits": side.digits,
            "environments": side.environments.model_dump(mode="json", exclude_none=True),
            "run": side.run.model_dump(mode="json", exclude_none=True),
        }
    )
    return {"head": text, "tail": ""}
