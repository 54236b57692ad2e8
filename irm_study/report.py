"""The page and its pictures: a `StudyRecord` becomes `report.html` and `figures/*.svg`, `figures/*.png`.

The numbers come from `tables`, the drawing from `figures`; here they are put into words and written. A page
is one file without any external request, and the same record gives the same bytes. What it says about a
configuration it says with n and an interval, and names whose eyes chose it.
"""

from __future__ import annotations

import io
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
import tomli_w
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from irm_study import tables
from irm_study.config import StudySpec, is_whole, study_digest
from irm_study.criteria import eyes
from irm_study.drawing import FAINT, GRID, INK, MODE_COLOURS, MODE_MARKERS, MODE_NAMES, PAPER
from irm_study.failures import EXPLANATIONS, landmarks
from irm_study.figures import FIGURES
from irm_study.records import StudyRecord, plain, write_text

DIGITS = {
    "embedded": "5,000 embedded digits, not full MNIST",
    "mnist": "full MNIST",
    "fashion-mnist": "Fashion-MNIST, not MNIST",
    "kmnist": "KMNIST, not MNIST",
}

CURVE_NUMBERS = 200_000
"""Numbers of single runs' curves that a page carries in all; with more runs, each curve gets coarser."""

SMALL = 10
"""Fresh seeds below which the page says that there are few."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page: what it shows, and what to conclude from it."""

    name: str
    title: str
    section: str
    shows: str
    concludes: str
    data: tuple[Any, ...]
    """The tables that its function in FIGURES takes."""

    @property
    def narrow(self) -> bool:
        """Whether it is drawn for one column of a page of two."""
        return self.name in {"trade_off", "performance_profile", "search_vs_confirmation", "importance"}


def write_report(record: StudyRecord) -> Path:
    """Write the pictures and the page into the record's folder, each file whole or not at all; returns the page's."""
    folder = record.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = describe(record)
    inlined = {}
    for picture in pictures:
        svg, png = drawn(picture)
        write_text(folder / f"{picture.name}.svg", svg)
        _write_bytes(folder / f"{picture.name}.png", png)
        inlined[picture.name] = inline_svg(svg, picture)
    path = record.folder / "report.html"
    write_text(path, page(record, pictures, inlined))
    return path


def page(record: StudyRecord, pictures: list[Picture], inlined: dict[str, str]) -> str:
    """The page as text. inlined: the SVG of each picture by name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("irm_study"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    table = tables.configurations(record)
    environment.filters |= {"percent": percent, "short": tables.short, "words": words}
    return environment.get_template("report.html.j2").render(
        spec=record.spec,
        first=first_screen(record, table),
        sections=[(name, [each for each in pictures if each.section == name]) for name in SECTIONS],
        inlined={name: Markup(svg) for name, svg in inlined.items()},
        trials=trial_rows(record, table),
        details=details(record, table),
        modes=[mode for mode in MODE_COLOURS if mode in set(tables.runs_of(record)["failure_mode"])],
        mode_names=MODE_NAMES,
        mode_colours=MODE_COLOURS,
        mode_paths={mode: marker_path(mode) for mode in MODE_COLOURS},
        explanations=EXPLANATIONS,
        provenance=record.provenance,
        digest=study_digest(record.spec),
        command=str(record.provenance.get("command") or "irm-study run study.toml"),
        study_file=tomli_w.dumps(record.spec.model_dump(mode="json", exclude_none=True)),
        digits=DIGITS[record.spec.digits],
    )


# The first screen


def first_screen(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What is read without scrolling: verdict, best (a row of `configurations`, or None), eyes, counts, progress."""
    ranking = tables.leading(record)
    best = table[table["trial"] == ranking[0]].to_dict("records")[0] if ranking else None
    bars = []
    for stage, rows in tables.modes_by_stage(record).groupby("stage", sort=False):
        name = {"search": "search", "confirm": "fresh seeds"}[str(stage)]
        bars.append({"name": name, "runs": int(rows["runs"].sum()), "modes": _in_order(rows)})
    states = table["state"].value_counts()
    return {
        "verdict": verdict(record, best),
        "caveats": caveats(record, best, table),
        "best": best,
        "parameters": {} if best is None else {key: plain(best[key]) for key in record.spec.search},
        "eyes": chosen_by(record.spec),
        "bars": bars,
        "runs": len(tables.runs_of(record)),
        "complete": int(states.get("complete", 0)),
        "pruned": int(states.get("pruned", 0)),
        "small": best is not None and 0 < best["fresh_n"] < SMALL,
    }


def verdict(record: StudyRecord, best: dict[str, Any] | None) -> str:
    """One sentence on whether a stable configuration was found, no stronger than the interval allows."""
    if record.runs.empty:
        return "Nothing has been run yet."
    if best is None:
        return f"No trial is finished yet: {_counted(len(record.runs), 'run')} so far, and nothing to conclude."
    name = f"trial {best['trial']}"
    if best["fresh_n"] == 0:
        found = f"{best['search_successes']} of {_counted(best['search_n'], 'search seed')}"
        return (
            f"Not confirmed: {name} leads the search, with {found} in the target zone, "
            "but those are the seeds that chose it."
        )
    fresh = _counted(best["fresh_n"], "fresh seed")
    interval = f"95% interval {_interval(best['fresh_low'], best['fresh_high'])}"
    reached = f"{best['fresh_successes']} of {fresh} ({percent(best['fresh_rate'])}, {interval})"
    of = f"the best of {_counted(record.trials['digest'].nunique(), 'configuration')}" if len(record.trials) > 1 else ""
    subject = f"{name}, {of}," if of else f"{name}, the only one tried,"
    if best["fresh_successes"] == 0:
        runs = record.runs[(record.runs["digest"] == best["digest"]) & (record.runs["stage"] == "confirm")]
        mode, count = next(iter(runs["failure_mode"].value_counts().items()))
        return (
            f"No working configuration found: {subject} reached the target zone on none of {fresh} ({interval}); "
            f"{count} of them ended {MODE_NAMES[mode]}."
        )
    if best["fresh_low"] >= 0.8:
        return f"Stable: {subject} reached the target zone on {reached}."
    if best["fresh_low"] > 0.5:
        return f"Works on most seeds: {subject} reached the target zone on {reached}."
    if best["fresh_high"] < 0.5:
        return f"Unstable: {subject} reached the target zone on only {reached}."
    return f"Stability not shown: {subject} reached the target zone on {reached}."


def caveats(record: StudyRecord, best: dict[str, Any] | None, table: pd.DataFrame) -> list[str]:
    """What a reader should hold against the verdict."""
    notes = []
    planned = record.spec.study.trials
    finished = int(record.trials["state"].isin(["complete", "pruned"]).sum()) if len(record.trials) else 0
    if finished < planned:
        notes.append(f"Unfinished: {finished} of {_counted(planned, 'trial')} done.")
    if best is not None and 0 < best["fresh_n"] < SMALL:
        notes.append(f"n = {best['fresh_n']} is small: read the interval, not the rate.")
    if best is not None and best["fresh_n"] and best["fresh_low"] <= 0.5 <= best["fresh_high"]:
        notes.append("Whether it works more often than not is open.")
    if best is not None and best["fresh_n"] == 0:
        notes.append("The success rate on the search's own seeds is too high on average: they did the choosing.")
    if len(table) and table.loc[table["fresh_n"] > 0, "digest"].nunique() > 1:
        notes.append("The best of several confirmed configurations is shown, which flatters it a little.")
    return notes


def chosen_by(spec: StudySpec) -> str:
    """Whose eyes chose the best configuration, the stopping rule's included."""
    text = eyes(spec.study.criterion)
    stops = spec.search.get("stop", (spec.run.stop,))
    oracles = [stop for stop in stops if stop.startswith("oracle")]
    if oracles and not spec.study.criterion.startswith("oracle"):
        return f"oracle: the stopping rule {oracles[0]} looked at the test environment"
    return text


# The pictures and their words

SECTIONS = ("Which configurations are stable", "How runs fail", "Whether to believe the search")


def describe(record: StudyRecord) -> list[Picture]:
    """Every picture of the page with its tables, what it shows, and what follows from the numbers in it."""
    stable, fail, believe = SECTIONS
    zones = landmarks(record.spec.environments)
    ranking = tables.leading(record)
    zone = f"training ≥ {percent(zones.target_train)} and test ≥ {percent(zones.target_test)}"
    points = tables.seed_points(record, ranking)
    profile = tables.profile(record, ranking[:4])
    lines, bands = tables.curves(record)
    shares = tables.failure_shares(record)
    counts, runs = tables.modes_by_stage(record), tables.final_accuracies(record)
    marks, begun = tables.map_marks(record), tables.beginnings(record)
    progress, scores = tables.progress(record), tables.search_and_confirmation(record)
    weights, spent = tables.importance(record), tables.cost(record)
    criterion = record.spec.study.criterion
    return [
        Picture(
            "seed_stability", "Every seed of the leading configurations", stable,
            "Accuracy at the end of every run of the leading configurations, best first; "
            f"the shade is the target zone ({zone}), the numbers count runs inside it.",
            conclude_seeds(points), (points, tables.seed_summary(points), zones),
        ),
        Picture(
            "trade_off", "Training against test accuracy", stable,
            "Each mark is a run. Colour alone sits at the lower right, shape alone at the cross, a constant at 50/50.",
            conclude_zone(runs), (runs, zones),
        ),
        Picture(
            "performance_profile", "Performance profile", stable,
            "How many of a configuration's runs beat each test accuracy; the band is a 95% interval of the first, "
            "at one threshold at a time. A steep line is a stable configuration.",
            conclude_profile(profile, zones.target_test), (profile, zones),
        ),
        Picture(
            "mode_bar", "All runs by how they ended", fail,
            "Every run, by the first failure mode whose rule applies at its end.",
            conclude_modes(counts), (counts,),
        ),
        Picture(
            "curves", "Training curves of every seed", fail,
            "Training accuracy (solid) and test accuracy (dashed), a panel for each mode in which runs ended"
            + (f"; {tables.LINES} single runs and the quantiles of all where there are more." if len(bands) else "."),
            conclude_curves(lines, begun), (lines, bands),
        ),
        Picture(
            "failure_map", "Failure map", fail,
            "Where in (penalty weight, anneal epoch) runs end how. Each cluster is a trial, each mark one of its "
            "seeds: a cluster of one colour is a configuration whose outcome the seed does not change.",
            conclude_map(marks), (marks,),
        ),
        Picture(
            "failure_shares", "Failure modes along each hyperparameter", fail,
            "Share of the search's runs in each mode, numbers cut at their quantiles, with 95% Wilson intervals. "
            "Seeds of a trial are not independent and the sampler favours good regions, so true intervals are wider.",
            conclude_shares(shares), (shares,),
        ),
        Picture(
            "when_failures_begin", "When failures begin", fail,
            "For every run, since when it has been in the mode in which it ended.",
            conclude_beginnings(begun), (begun,),
        ),
        Picture(
            "search_progress", "Progress of the search", believe,
            f"The objective value ({criterion}, {record.spec.study.aggregate} over seeds) of each trial, "
            "marked by the mode most of its runs ended in.",
            conclude_progress(progress), (progress, criterion),
        ),
        Picture(
            "search_vs_confirmation", "Search score against confirmation", believe,
            "The mean score on the seeds that chose a configuration, and on seeds that the search never saw, "
            "with 95% bootstrap intervals.",
            conclude_confirmation(scores), (scores, criterion),
        ),
        Picture(
            "importance", "Importance of the hyperparameters", believe,
            "How much of the objective's variation over the trials goes with each searched hyperparameter.",
            conclude_importance(weights, record), (weights,),
        ),
        Picture(
            "cost", "Cost", believe,
            "Runs and computing time, by how the runs ended.",
            conclude_cost(spent), (spent,),
        ),
    ]  # fmt: skip


def conclude_seeds(points: pd.DataFrame) -> str:
    if points.empty:
        return "No configuration is finished."
    first = points[(points["rank"] == 0) & (points["environment"] == "test")]
    finite = first["accuracy"][np.isfinite(first["accuracy"].astype(float))]
    name = first["configuration"].iloc[0]
    if len(first) < 2:
        return f"{name.capitalize()} has one run: its spread over seeds is not known."
    if finite.empty:
        return f"No run of {name} ended with a finite accuracy."
    span = f"{percent(finite.min())} to {percent(finite.max())}"
    inside = int((first["failure_mode"] == "invariant").sum())
    return (
        f"The seeds of {name} alone span {span} in test accuracy; {inside} of its {len(first)} runs, search "
        "and fresh, end in the zone. "
        + ("One run says little." if finite.max() - finite.min() > 0.1 else "The seed matters little here.")
    )


def conclude_zone(runs: pd.DataFrame) -> str:
    if runs.empty:
        return "No runs."
    inside = int((runs["failure_mode"] == "invariant").sum())
    return f"{inside} of {_counted(len(runs), 'run')} ended in the target zone."


def conclude_profile(profile: pd.DataFrame, threshold: float) -> str:
    if profile.empty:
        return "No configuration is finished."
    own = profile[profile["rank"] == 0]
    row = own.iloc[int((own["threshold"] - threshold).abs().argmin())]
    seeds = _counted(int(row["n"]), f"{'fresh' if row['stage'] == 'confirm' else 'search'} seed")
    return (
        f"{percent(row['share'])} of {row['configuration']}'s runs ({seeds}) exceed {percent(threshold)} in test; "
        f"95% interval {_interval(row['low'], row['high'])}."
    )


def conclude_modes(counts: pd.DataFrame) -> str:
    search = counts[counts["stage"] == "search"]
    if search.empty:
        return "No runs of the search."
    failed = search[search["failure_mode"] != "invariant"].sort_values("runs", ascending=False, kind="stable")
    total = int(search["runs"].sum())
    if failed.empty:
        return f"All {total} runs of the search ended in the target zone."
    row = failed.iloc[0]
    return (
        f"The commonest failure in the search is {MODE_NAMES[row['failure_mode']]}: {row['runs']} of "
        f"{_counted(total, 'run')} ({percent(row['share'])}, 95% interval {_interval(row['low'], row['high'])}). "
        f"{EXPLANATIONS[row['failure_mode']]}"
    )


def conclude_curves(lines: pd.DataFrame, begun: pd.DataFrame) -> str:
    if lines.empty:
        return "No runs."
    modes = begun["failure_mode"].nunique()
    if modes == 1:
        return f"All runs ended {MODE_NAMES[begun['failure_mode'].iloc[0]]}."
    epochs = lines["anneal_epoch"].nunique()
    aligned = "The axis counts from each run's anneal epoch. " if epochs > 1 else ""
    return f"{aligned}{modes} different endings; compare where the panels part from each other."


def conclude_map(marks: pd.DataFrame) -> str:
    if marks.empty:
        return "No runs of the search."
    medians = marks.groupby("failure_mode")["penalty_weight"].median()
    shown = [mode for mode in ("erm_like", "invariant", "collapsed") if mode in medians]
    mixed = int((marks.groupby("trial")["failure_mode"].nunique() > 1).sum())
    trials = marks["trial"].nunique()
    text = f"In {mixed} of {_counted(trials, 'trial')} the seed alone changed how a run ended."
    if shown and marks["penalty_weight"].nunique() > 1:
        each = ", ".join(f"{MODE_NAMES[mode]} {tables.short(medians[mode])}" for mode in shown)
        text += f" Median penalty weight of runs that ended {each}."
    return text


def conclude_shares(shares: pd.DataFrame) -> str:
    own = shares[shares["failure_mode"] == "invariant"]
    spans = own.groupby("hyperparameter")["share"].agg(lambda share: share.max() - share.min())
    if spans.empty or spans.max() == 0:
        return "No bin has more invariant runs than another." if len(shares) else "Nothing to compare."
    name = spans.idxmax()
    rows = own[own["hyperparameter"] == name]
    worst, best = rows.loc[rows["share"].idxmin()], rows.loc[rows["share"].idxmax()]
    apart = worst["high"] < best["low"]
    return (
        f"Invariant runs vary most along {words(name)}: {percent(worst['share'])} at {worst['label']}, "
        f"{percent(best['share'])} at {best['label']}; "
        + ("the intervals do not overlap." if apart else "the intervals overlap, so this may be chance.")
    )


def conclude_beginnings(begun: pd.DataFrame) -> str:
    failed = begun[begun["failure_mode"] != "invariant"]
    if failed.empty:
        return "No run failed." if len(begun) else "No runs."
    before = int((failed["since_anneal"] < 0).sum())
    later = failed.loc[failed["since_anneal"] >= 0, "since_anneal"]
    text = f"{before} of {_counted(len(failed), 'failed run')} were in their final mode before the anneal epoch"
    if later.empty:
        return f"{text}."
    return f"{text}; the others entered it {later.median():.0f} epochs after it in the median."


def conclude_progress(progress: pd.DataFrame) -> str:
    complete = progress[(progress["state"] == "complete") & progress["value"].notna()]
    if complete.empty:
        return "No trial is finished."
    row = complete.loc[complete["value"].idxmax()]
    after = int((complete["trial"] > row["trial"]).sum())
    return (
        f"The best value, {row['value']:.3f}, came with trial {row['trial']}; "
        f"{_counted(after, 'later trial')} did not better it."
    )


def conclude_confirmation(scores: pd.DataFrame) -> str:
    if scores.empty:
        return "Nothing has been confirmed: what the search's own seeds promise is not tested."
    row = scores.iloc[0]
    if not math.isfinite(row["search"]):
        return f"{row['configuration'].capitalize()} scored {row['fresh']:.3f} on {row['fresh_n']} fresh seeds."
    change = row["fresh"] - row["search"]
    moved = "fell" if change < 0 else "rose" if change > 0 else "stayed, going"
    note = " Some fall is expected, because the search picked the luckiest." if change < 0 else ""
    return (
        f"The mean score of {row['configuration']} {moved} from {row['search']:.3f} (n = {row['search_n']}) to "
        f"{row['fresh']:.3f} on fresh seeds (n = {row['fresh_n']}).{note}"
    )


def conclude_importance(weights: pd.DataFrame, record: StudyRecord) -> str:
    if weights.empty:
        return "Too few finished trials, or nothing searched: importance cannot be told."
    complete = int((record.trials["state"] == "complete").sum())
    first = weights.iloc[0]
    few = " With so few, the order may be chance." if complete < 50 else ""
    return (
        f"{words(first['hyperparameter']).capitalize()} comes first with {percent(first['importance'])}, "
        f"from {_counted(complete, 'trial')}.{few}"
    )


def conclude_cost(spent: pd.DataFrame) -> str:
    if spent.empty:
        return "No runs."
    seconds = spent["seconds"].sum()
    lost = spent.loc[spent["failure_mode"] != "invariant", "seconds"].sum()
    share = f"; {percent(lost / seconds)} of the time went into runs that ended outside the zone" if seconds else ""
    return f"{_counted(int(spent['runs'].sum()), 'run')}, {_duration(seconds)} of computing{share}."


# Files


def drawn(picture: Picture) -> tuple[str, bytes]:
    """The picture as SVG text and as PNG bytes, the same each time."""
    figure: Figure = FIGURES[picture.name](*picture.data)
    # Text stays text in the SVG: smaller, searchable, and read out; ids follow from the name alone.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": picture.name}):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=200, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def inline_svg(svg: str, picture: Picture) -> str:
    """The SVG as it stands in the page: page colours for ink and paper, its own ids, a title and a description."""
    body = svg[svg.index("<svg") :]
    width, height = (float(value) for value in re.findall(r'\b(?:width|height)="([\d.]+)pt"', body)[:2])
    body = body[body.index(">") + 1 :]
    for needless in (r"<metadata>.*?</metadata>", r"<!--.*?-->"):
        body = re.sub(needless, "", body, flags=re.DOTALL)
    body = re.sub(r' (d|x|y|transform|points)="([^"]*)"', _rounded, body)
    body = re.sub(r"<g([^>]*)>((?:\s*<use [^>]*/>){2,})\s*</g>", _hoisted, body)
    # Only ids that something refers to stay, and are this picture's own.
    own = f"f{list(FIGURES).index(picture.name)}"
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


# The table of trials


def trial_rows(record: StudyRecord, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `configurations` as plain values, best first, with their modes in the pictures' order."""
    ranking = tables.leading(record, top=1_000_000)
    place = {trial: index for index, trial in enumerate(ranking)}
    rows = table.to_dict("records")
    for row in rows:
        row["bars"] = [(mode, row["modes"][mode]) for mode in MODE_COLOURS if mode in row["modes"]]
        row["parameters"] = {key: plain(row.get(key)) for key in record.spec.search}
        row["value"] = plain(row["value"])
    return sorted(rows, key=lambda row: (place.get(row["trial"], math.inf), row["trial"]))


def details(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """What the rows open: each configuration's TOML and its runs with evidence and curves, compact for JSON.

    A run is [seed, fresh, mode, since, score, train, test, heldout, epochs, seconds, evidence, explanation (its
    place in `explanations`), anneal epoch, epochs of the curve, training curve, test curve]; accuracies of curves
    are whole tenths of a percent. `base` is the middle that all configurations' TOML have in common.
    """
    spec, runs = record.spec, tables.runs_of(record)
    points = int(np.clip(CURVE_NUMBERS / max(3 * len(runs), 1), 8, 40))
    explanations: dict[str, int] = {}
    by_digest = {digest: rows.to_dict("records") for digest, rows in runs.groupby("digest")} if len(runs) else {}
    trials = {}
    for row in table.to_dict("records"):
        head, tail = trial_toml(spec, row)
        own = [_run_details(run, points, explanations) for run in by_digest.get(row["digest"], [])]
        trials[str(row["trial"])] = {"head": head, "tail": tail, "runs": own}
    return {
        "base": base_toml(spec),
        "explanations": list(explanations),
        "names": MODE_NAMES,
        "trials": trials,
    }


def base_toml(spec: StudySpec) -> str:
    """What all trials' files for `irm-study train` share; [run] comes last, so that a trial's own values may follow."""
    shared = spec.run.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(
        {
            "digits": spec.digits,
            "environments": spec.environments.model_dump(mode="json", exclude_none=True),
            "run": {key: value for key, value in shared.items() if key not in spec.search},
        }
    )


def trial_toml(spec: StudySpec, row: dict[str, Any]) -> tuple[str, str]:
    """What comes before and after `base_toml`: the name and the searched values of one trial."""
    values = {}
    for key in spec.search:
        value = plain(row.get(key))
        if value is not None:
            values[key] = int(value) if is_whole(key) else value
    ending = f"-trial-{row['trial']}"
    return tomli_w.dumps({"name": spec.name[: 200 - len(ending)] + ending}), tomli_w.dumps(values)


def _run_details(run: dict[str, Any], points: int, explanations: dict[str, int]) -> list[Any]:
    measured = tables.accuracy_curves(run)
    length = len(measured["epoch"])
    kept = np.unique(np.linspace(0, length - 1, min(points, length)).round().astype(int))
    numbers = [run[key] for key in ("score", "train_accuracy_min", "test_accuracy", "heldout_accuracy")]
    return [
        int(run["seed"]), int(run["stage"] == "confirm"), run["failure_mode"], int(run["failure_since"]),
        *[round(float(value), 4) if math.isfinite(value) else None for value in numbers],
        int(run["epochs_trained"]), round(float(run["seconds"]), 2), str(run["evidence"]),
        explanations.setdefault(str(run["explanation"]), len(explanations)), int(run["anneal_epoch"]),
        measured["epoch"][kept].astype(int).tolist(), *[_permille(measured[name][kept]) for name in ("train", "test")],
    ]  # fmt: skip


def _permille(values: np.ndarray) -> list[int | None]:
    return [round(1000 * value) if math.isfinite(value) else None for value in values.tolist()]


# Words


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def words(name: str) -> str:
    return str(name).replace("_", " ")


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{percent(high)}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _in_order(rows: pd.DataFrame) -> list[tuple[str, int]]:
    counts = dict(zip(rows["failure_mode"], rows["runs"], strict=True))
    return [(mode, int(counts[mode])) for mode in MODE_COLOURS if mode in counts]


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


def _write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all; a file that holds the same already is not touched."""
    if path.exists() and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
