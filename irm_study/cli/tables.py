"""What a command prints when its work is done: tables in the terminal, and a sentence or two.

Numbers come in summaries, which scripts read as JSON; nothing is computed here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def print_study(name: str, criterion: str, summary: dict[str, Any]) -> None:
    """summary: as `results.summary`."""
    table = Table(title=Text(f"Study {name}"), title_justify="left", show_header=False)
    table.add_row("trials, runs", f"{summary['trials']}, {summary['runs']}")
    table.add_row("failure modes of the search", _modes(summary["failure_modes"]))
    spent = summary["epochs"]
    if spent["shared"] or spent["stopped"]:
        text = f"{spent['shared']} shared by several runs, {spent['stopped']} after runs were stopped"
        table.add_row("epochs not trained", f"{text}; trained {spent['trained']}")
    if summary["best"]:
        tie = summary["best"]["tie"]
        value = f"{criterion} {summary['best']['value']:.3f} (trial {summary['best']['trial']})"
        table.add_row("first of those tied in the search" if tie and tie["open"] else "best in the search", value)
        if tie:
            table.add_row("tie in the search", tie["text"])
        table.add_row("its hyperparameters", _parameters(summary["best"]["parameters"]))
    for row in summary["confirmed"]:
        table.add_row(f"confirmed: trial {row['trial']}", _confirmation(row, len(summary["confirmed"])))
    if summary["confirmed_tie"]:
        table.add_row("tie on fresh seeds", summary["confirmed_tie"]["text"])
    if summary["region"]:
        table.add_row("region", _sides(summary["region"]["box"]))
        table.add_row("its proof", _proof(summary["region"]))
    Console(markup=False).print(table)


def print_status(name: str, summary: dict[str, Any]) -> None:
    """summary: as `results.summary`, with budget (trials at the end) and working (who works on it, or None)."""
    state = f"{summary['working']} works on it" if summary["working"] else "no process works on it"
    print(f"study {name}: {summary['trials']} of {summary['budget']} trials, {summary['runs']} runs; {state}")
    print("failure modes of the search: " + (_modes(summary["failure_modes"]) or "none yet"))
    if summary["best"]:
        tie = summary["best"]["tie"]
        first = "first of those tied so far" if tie and tie["open"] else "best so far"
        print(f"{first}: {summary['best']['value']:.3f} (trial {summary['best']['trial']})")
        if tie:
            print(f"search: {tie['text']}")
    for row in summary["confirmed"]:
        print(f"confirmed: {_confirmation(row, len(summary['confirmed']))}")
    if summary["confirmed_tie"]:
        print(f"fresh seeds: {summary['confirmed_tie']['text']}")


def print_runs(runs: pd.DataFrame, summary: dict[str, Any]) -> None:
    """runs: a table of judged runs. summary: as `results.over_seeds`."""
    table = Table("seed", "failure mode", "train", "test", "seconds", "evidence")
    for row in runs.to_dict("records"):
        table.add_row(
            str(row["seed"]), row["failure_mode"], f"{row['train_accuracy']:.3f}", f"{row['test_accuracy']:.3f}",
            f"{row['seconds']:.1f}", row["evidence"],
        )  # fmt: skip
    Console(markup=False).print(table)
    if summary["seeds"] > 1:
        print(
            f"train {summary['train_accuracy']:.3f} ± {summary['train_deviation']:.3f}, "
            f"test {summary['test_accuracy']:.3f} ± {summary['test_deviation']:.3f} "
            f"(mean ± standard deviation over {summary['seeds']} seeds); "
            f"in the target zone on {summary['successes']} of {summary['seeds']} "
            f"(95% interval {summary['low']:.2f} to {summary['high']:.2f}){_unseen(summary)}"
        )
        print(_centres(summary["score"]))


def print_comparison(summary: dict[str, Any]) -> None:
    """summary: as `comparison.summary`."""
    from irm_study.comparison import MEASURES, SEEDS, signed  # which draws: not for the other commands
    from irm_study.report import p_text

    console = Console(markup=False)
    table = Table(
        "configuration", "runs", "in zone (95%)", "score", "train", "test", caption=f"score: {summary['criterion']}"
    )
    for row in summary["sides"]:
        table.add_row(
            row["name"], f"{row['n']} {SEEDS[row['stage']]}{'s' * (row['n'] != 1)}",
            f"{row['rate']:.0%} ({100 * row['low']:.0f}–{row['high']:.0%})", f"{row['score']:.3f}",
            f"{row['train_accuracy']:.3f}", f"{row['test_accuracy']:.3f}",
        )  # fmt: skip
    console.print(table)
    for row in summary["sides"]:
        print(f"{row['name']}: {_modes(row['failure_modes'])}")
    table = Table("first minus second", "n", "points", "95% interval", "p (Holm)")
    for pair in summary["pairs"]:
        table.add_row(f"{pair['first']} − {pair['second']}")
        for measure, name in MEASURES.items():
            row = pair[measure]
            n = f"{row['n_first']} and {row['n_second']}" if measure == "success" else f"{row['n_first']} shared"
            numbers = ["", "no shared seeds", ""]
            if math.isfinite(row["p_holm"]):
                span = f"{signed(row['low'])} to {signed(row['high'])}" if math.isfinite(row["low"]) else ""
                numbers = [signed(row["difference"]), span, p_text(row["p_holm"])]
            table.add_row(f"  {name}", n, *numbers, end_section=measure == "test_accuracy")
    console.print(table)


def print_calibration(table: pd.DataFrame, summary: dict[str, Any]) -> None:
    """table: as `report.write_confusion` returns it. summary: as `report.agreement`."""
    from irm_study.report import agreement_sentence

    shown = Table("made to fail by", "intended", "with the test environment", "recoloured images")
    for (way, intended), group in table.groupby(["way", "intended"], sort=False):
        modes = [
            _modes(
                dict(group.loc[group["evidence_source"] == source, ["failure_mode", "runs"]].itertuples(index=False))
            )
            for source in ("test", "recoloured")
        ]
        shown.add_row(way, intended, *modes)
    Console(markup=False).print(shown)
    counts = Table("intended", "configurations", "runs", "right with the test environment", "recoloured images")
    for row in summary["modes"]:
        counts.add_row(*map(str, row.values()))
    Console(markup=False).print(counts)
    print(agreement_sentence(summary))


def print_advice(table: pd.DataFrame) -> None:
    """table: as `report.write_advice` returns it."""
    shown = Table("mode, change", "digits", "helped (95%)", "points", "in zone")
    for row in table.to_dict("records"):
        helped = row["nearer"] if row["measure"] == "zone_margin" else row["better"]
        shown.add_row(
            f"{row['failure_mode']}: {row['change']}", row["digits"],
            f"{helped} of {row['configurations']} ({100 * row['low']:.0f}–{row['high']:.0%})",
            f"{100 * row[row['measure']]:+.1f}", f"{row['in_zone']} of {row['runs']}",
        )  # fmt: skip
    Console(markup=False).print(shown)
    print(
        "helped: configurations, by the lower of training and test accuracy (near_miss and relapsed: by the distance "
        "to the target zone); points: its mean change"
    )


def print_bench(measured: dict[str, Any]) -> None:
    """measured: as `bench.benchmark`."""
    columns = ("hidden", "precision", "runs", "seconds an epoch", "GFLOP/s", "of the product", "times plain", "memory")
    of = ", ".join([measured["device"], *measured["instructions"]])
    table = Table(*columns, title=f"{of}; loops by {measured['loops']}")
    for case in measured["cases"]:
        table.add_row(
            str(case["hidden"]), case["precision"], str(case["runs"]), f"{case['epoch_seconds']:.3f}",
            f"{case['gflops']:.0f}", f"{case['fraction']:.0%}", f"{case['speedup']:.2f}",
            f"{case['peak_memory_bytes'] / 2**20:.0f} MiB",
        )  # fmt: skip
    Console(markup=False).print(table)
    speeds = measured["matmul_gflops"]
    of_each = speeds if isinstance(speeds, dict) else {"float32": speeds}
    print("matrix product: " + ", ".join(f"{speed:.0f} GFLOP/s in {name}" for name, speed in of_each.items()))
    probes = measured["probes"]
    print(
        f"probes at checkpoints take {probes['authors']:.1%} of the training between them in the authors' protocol, "
        f"{probes['embedded']:.1%} at hidden 64 on the embedded digits"
    )
    if "processes" in measured:
        several = measured["processes"]
        print(
            f"{several['processes']} processes of one thread, as in a study, train {several['ratio']:.2f} times the "
            f"runs of one; alone, one has {several['fraction']:.0%} of the product's speed on one thread"
        )
    else:
        print(f"memory at {measured['memory_gigabytes_per_second']:.0f} GB/s")


def print_driver_load(measured: dict[str, Any]) -> None:
    """measured: as `bench.driver_load`."""
    trials, seeds, workers, seconds = (measured[key] for key in ("trials", "seeds", "workers", "seconds"))
    for mark in measured["marks"]:
        own = mark["own_seconds"] * 1000 / mark["trials"]
        print(f"{mark['trials']} trials: {own:.1f} ms a trial of the driver's own; memory {mark['memory_mib']:.0f} MiB")
    own = measured["own_milliseconds_at_the_end"]
    print(
        f"{trials} trials of {seeds} runs in {measured['wall_seconds']:.0f} s: the driver's own work "
        f"{measured['own_fraction']:.1%} of them, {own:.1f} ms a trial at the end; {workers} workers kept busy "
        f"{measured['kept_busy']:.0%} of the time; {measured['stored_mib']:.0f} MiB stored"
    )
    judge, page = measured["judge"], measured["page"]
    print(
        f"read and judged in {judge['seconds']:.1f} s ({judge['peak_mib']:.0f} MiB at the most); "
        f"its page, {page['mib']:.1f} MiB, made in {page['seconds']:.1f} s ({page['peak_mib']:.0f} MiB)"
    )
    if seconds:
        most = max(1, round(seeds * seconds * trials / measured["marks"][-1]["own_seconds"]))
        print(f"trials of {seeds} runs of {seconds:g} s saturate the driver at {most} workers")


def _modes(counts: dict[str, int]) -> str:
    return ", ".join(f"{mode} {count}" for mode, count in counts.items())


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in parameters.items()
    )


def _sides(box: dict[str, Any]) -> str:
    """The ranges and choices of a region."""
    return ", ".join(
        f"{key} {side['low']:.4g} to {side['high']:.4g}"
        if isinstance(side, dict)
        else f"{key} {'/'.join(map(str, side))}"
        for key, side in box.items()
    )


def _proof(region: dict[str, Any]) -> str:
    """region: as in `results.summary`."""
    predicted = f"{region['share']:.2g} of the search space, success predicted above {region['rate']:.0%}"
    proof = region["proof"]
    if proof is None:
        return f"{predicted}; not proven yet"
    corrected = f", corrected for {region['attempt']} attempts" if region["attempt"] > 1 else ""
    return (
        f"{predicted}; in the target zone with {proof['successes']} of {proof['seeds']} configurations drawn from it, "
        f"a fresh seed each (95% interval {proof['low']:.2f} to {proof['high']:.2f}{corrected})"
    )


def _confirmation(row: dict[str, Any], several: int) -> str:
    """several: how many are confirmed; the interval is for the best of them."""
    stable, of = "stable: " if row["stable"] else "", f" for the best of {several}" if several > 1 else ""
    return (
        f"{stable}in the target zone on {row['successes']} of {row['seeds']} fresh seeds "
        f"(95% interval{of} {row['low']:.2f} to {row['high']:.2f}); mean train {row['train_accuracy']:.3f}, "
        f"test {row['test_accuracy']:.3f}; {_centres(row['score'])}{_unseen(row)}"
    )


def _unseen(summary: dict[str, Any]) -> str:
    """summary: as in `results.over_seeds`."""
    if (unseen := summary.get("unseen")) is None:
        return ""
    return (
        f"; on the digits' own test set in the zone on {unseen['successes']} of {summary['seeds']} "
        f"({unseen['low']:.2f} to {unseen['high']:.2f}), mean accuracy {unseen['accuracy']:.3f}"
    )


def _centres(score: dict[str, dict[str, float]]) -> str:
    """score: as in `results.over_seeds`. Of few runs there is no interval."""
    mean, lowest = score["mean"], score["minimum"]
    if not math.isfinite(mean["low"]):
        return f"score: mean {mean['value']:.3f}, lowest {lowest['value']:.3f}"
    each = ", ".join(
        f"{name} {score[key]['value']:.3f} ({score[key]['low']:.3f} to {score[key]['high']:.3f})"
        for key, name in (("mean", "mean"), ("iqm", "middle half"))
    )
    return (
        f"score: {each}, 95% bootstrap intervals; lowest {lowest['value']:.3f}, which at least "
        f"{lowest['exceeded_by']:.0%} of all runs exceed, with 95% confidence"
    )
