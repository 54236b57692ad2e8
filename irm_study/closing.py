"""What a command prints when its work is done: tables in the terminal, and a sentence or two.

Numbers come finished; scripts read the same ones as JSON.
"""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from irm_study.comparison_report import MEASURES, SEEDS, signed
from irm_study.drawing import p_text


def print_study(name: str, criterion: str, told: dict[str, Any]) -> None:
    """told: as `records.summary`."""
    table = Table(title=Text(f"Study {name}"), title_justify="left", show_header=False)
    table.add_row("trials, runs", f"{told['trials']}, {told['runs']}")
    table.add_row("failure modes of the search", _modes(told["failure_modes"]))
    spent = told["epochs"]
    if spent["shared"] or spent["stopped"]:
        text = f"{spent['shared']} shared by several runs, {spent['stopped']} after runs were stopped"
        table.add_row("epochs not trained", f"{text}; trained {spent['trained']}")
    if told["best"]:
        value = f"{criterion} {told['best']['value']:.3f} (trial {told['best']['trial']})"
        table.add_row("best in the search", value)
        table.add_row("its hyperparameters", _parameters(told["best"]["parameters"]))
    for row in told["confirmed"]:
        table.add_row(f"confirmed: trial {row['trial']}", _confirmation(row))
    Console(markup=False).print(table)


def print_status(name: str, told: dict[str, Any]) -> None:
    state = f"{told['working']} works on it" if told["working"] else "no process works on it"
    print(f"study {name}: {told['trials']} of {told['budget']} trials, {told['runs']} runs; {state}")
    print("failure modes of the search: " + (_modes(told["failure_modes"]) or "none yet"))
    if told["best"]:
        print(f"best so far: {told['best']['value']:.3f} (trial {told['best']['trial']})")
    for row in told["confirmed"]:
        print(f"confirmed: {_confirmation(row)}")


def print_runs(runs: Any, told: dict[str, Any]) -> None:
    """runs: a table of judged runs; told: as `records.over_seeds`."""
    table = Table("seed", "failure mode", "train", "test", "seconds", "evidence")
    for row in runs.to_dict("records"):
        table.add_row(
            str(row["seed"]), row["failure_mode"], f"{row['train_accuracy']:.3f}", f"{row['test_accuracy']:.3f}",
            f"{row['seconds']:.1f}", row["evidence"],
        )  # fmt: skip
    Console(markup=False).print(table)
    if told["seeds"] > 1:
        print(
            f"train {told['train_accuracy']:.3f} ± {told['train_deviation']:.3f}, test {told['test_accuracy']:.3f} ± "
            f"{told['test_deviation']:.3f} (mean ± standard deviation over {told['seeds']} seeds); in the target zone "
            f"on {told['successes']} of {told['seeds']} (95% interval {told['low']:.2f} to {told['high']:.2f})"
        )
        print(_centres(told["score"]))


def print_comparison(told: dict[str, Any]) -> None:
    console = Console(markup=False)
    table = Table(
        "configuration", "runs", "in zone (95%)", "score", "train", "test", caption=f"score: {told['criterion']}"
    )
    for row in told["sides"]:
        table.add_row(
            row["name"], f"{row['n']} {SEEDS[row['stage']]}{'s' * (row['n'] != 1)}",
            f"{row['rate']:.0%} ({100 * row['low']:.0f}–{row['high']:.0%})", f"{row['score']:.3f}",
            f"{row['train_accuracy']:.3f}", f"{row['test_accuracy']:.3f}",
        )  # fmt: skip
    console.print(table)
    for row in told["sides"]:
        print(f"{row['name']}: {_modes(row['failure_modes'])}")
    table = Table("first minus second", "n", "points", "95% interval", "p (Holm)" if len(told["sides"]) > 2 else "p")
    for pair in told["pairs"]:
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


def print_calibration(table: Any, told: dict[str, Any]) -> None:
    """table: as `calibration.confusion`; told: as `calibration.agreement`."""
    shown = Table("made to fail by", "intended", "with the test environment", "training images alone")
    for (way, intended), group in table.groupby(["way", "intended"], sort=False):
        seen = [
            _modes(dict(group.loc[group["eyes"] == eyes, ["failure_mode", "runs"]].itertuples(index=False)))
            for eyes in ("test", "train")
        ]
        shown.add_row(way, intended, *seen)
    Console(markup=False).print(shown)
    for eyes, text in (
        ("test", "with the test environment"), ("train", "from training images alone"), ("between", ""),
    ):  # fmt: skip
        share = f"{told[eyes]['right']} of {told[eyes]['runs']} runs ({told[eyes]['share']:.1%}, 95% interval"
        share += f" {told[eyes]['low']:.1%} to {told[eyes]['high']:.1%})"
        print(f"{share}: the mode that they were made for, {text}" if text else f"{share}: both eyes agree")


def print_bench(measured: dict[str, Any]) -> None:
    columns = ("hidden", "runs", "seconds an epoch", "GFLOP/s", "of the product", "times plain", "peak memory")
    table = Table(*columns, title=f"{measured['device']}: product at {measured['matmul_gflops']:.0f} GFLOP/s")
    for case in measured["cases"]:
        table.add_row(
            str(case["hidden"]), str(case["runs"]), f"{case['epoch_seconds']:.3f}", f"{case['gflops']:.0f}",
            f"{case['fraction']:.0%}", f"{case['speedup']:.2f}", f"{case['peak_memory_bytes'] / 2**20:.0f} MiB",
        )  # fmt: skip
    Console(markup=False).print(table)
    probes = measured["probes"]
    print(
        f"probes at checkpoints take {probes['authors']:.1%} of the training between them in the authors' protocol, "
        f"{probes['embedded']:.1%} at hidden 64 on the embedded digits"
    )
    if "processes" in measured:
        told = measured["processes"]
        print(
            f"{told['processes']} processes of one thread, as in a study, train {told['ratio']:.2f} times the runs of "
            f"one; alone, one has {told['fraction']:.0%} of the product's speed on one thread"
        )
    else:
        print(
            f"half-precision product at {measured['matmul_float16_gflops']:.0f} GFLOP/s; "
            f"memory at {measured['memory_gigabytes_per_second']:.0f} GB/s"
        )


def print_driver_load(told: dict[str, Any], trials: int, seeds: int, workers: int, seconds: float) -> None:
    for mark in told["marks"]:
        own = mark["own_seconds"] * 1000 / mark["trials"]
        print(f"{mark['trials']} trials: {own:.1f} ms a trial of the driver's own; memory {mark['memory_mib']:.0f} MiB")
    own = told["own_milliseconds_at_the_end"]
    print(
        f"{trials} trials of {seeds} runs in {told['wall_seconds']:.0f} s: the driver's own work "
        f"{told['own_fraction']:.1%} of them, {own:.1f} ms a trial at the end; {workers} workers kept busy "
        f"{told['kept_busy']:.0%} of the time; {told['stored_mib']:.0f} MiB stored"
    )
    print(
        f"read and judged in {told['judge']['seconds']:.1f} s ({told['judge']['peak_mib']:.0f} MiB at the most); "
        f"its page, {told['page']['mib']:.1f} MiB, made in {told['page']['seconds']:.1f} s "
        f"({told['page']['peak_mib']:.0f} MiB)"
    )
    if seconds:
        most = max(1, round(seeds * seconds * trials / told["marks"][-1]["own_seconds"]))
        print(f"trials of {seeds} runs of {seconds:g} s saturate the driver at {most} workers")


def _modes(counts: dict[str, int]) -> str:
    return ", ".join(f"{mode} {count}" for mode, count in counts.items())


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in parameters.items()
    )


def _confirmation(row: dict[str, Any]) -> str:
    stable = "stable: " if row["stable"] else ""
    return (
        f"{stable}in the target zone on {row['successes']} of {row['seeds']} fresh seeds "
        f"(95% interval {row['low']:.2f} to {row['high']:.2f}); mean train {row['train_accuracy']:.3f}, "
        f"test {row['test_accuracy']:.3f}; {_centres(row['score'])}"
    )


def _centres(score: dict[str, dict[str, float]]) -> str:
    """score: as `records.centres`."""
    names = {"mean": "mean", "iqm": "middle half", "worst_decile": "worst tenth"}
    known = [(names[key], told) for key, told in score.items() if math.isfinite(told["low"])]
    if not known:  # of one run there is no interval
        return f"score {score['mean']['value']:.3f}"
    each = ", ".join(f"{name} {told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})" for name, told in known)
    return f"score: {each}; 95% bootstrap intervals"
