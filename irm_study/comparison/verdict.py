"""The verdict of a comparison in sentences, and what a reader should hold against it.

Nothing is claimed that the tests do not show. What follows from a figure stands beside the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from irm_study.comparison.measures import signed
from irm_study.comparison.sides import SEEDS, Side
from irm_study.report import SMALL, p_text, plural
from irm_study.statistics import SIGNIFICANT


def verdict(outcomes: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """One sentence on which side reaches the target zone more often, no stronger than the tests allow."""
    rows = outcomes.set_index("name")
    reached = {
        name: f"{row['successes']} of {plural(int(row['n']), SEEDS[row['stage']])}" for name, row in rows.iterrows()
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
    leads = f"the highest rate is that of {top['name']}, {reached[top['name']]}"
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
    differ = f"{len(found)} of {plural(len(success), 'pair')} {verb} in success rate after Holm's correction"
    return f"{differ}; {leads}, {over}."


def paired_sentence(pairs: pd.DataFrame) -> str:
    """What two sides' shared seeds say of the test accuracy."""
    row = pairs[pairs["measure"] == "test_accuracy"].iloc[0]
    first, second, n = row["first"], row["second"], int(row["n_first"])
    if n == 0:
        return "They share no seeds, so that score and test accuracy are not compared run by run."
    span = f", 95% interval {signed(row['low'])} to {signed(row['high'])}" if math.isfinite(row["low"]) else ""
    by = f"by {signed(row['difference'])} points ({plural(n, 'shared seed')}{span}; {p_text(row['p_holm'])})"
    chance = "" if row["p_holm"] < SIGNIFICANT else ", not shown to be more than chance"
    return f"On the seeds that both have, the test accuracy of {first} differs from that of {second} {by}{chance}."


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
    tests = int(pairs["p_value"].notna().sum())
    few = [int(n) for n in shared if n > 0 and least_paired_p(int(n), tests) > SIGNIFICANT]
    if few:
        notes.append(f"With {plural(min(few), 'shared seed')} a paired test cannot reach p = {SIGNIFICANT} here.")
    for side in sides:
        if side.chosen_of > 1:
            notes.append(f"{side.name} is the best of {side.chosen_of}: intervals and p allow for that choice.")
    return notes


def least_paired_p(shared: int, tests: int) -> float:
    """The lowest p that sign flips on so many shared seeds can reach after Holm's correction for so many tests."""
    return min(1.0, 2.0 ** (1 - shared) * tests)
