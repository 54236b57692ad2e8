"""The command that measures speed. Heavy libraries are imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irm_study.cli.as_json import print_json
from irm_study.cli.options import AsJson, Device


def bench(
    device: Device = "cpu",
    driver: Annotated[
        bool, typer.Option("--driver", help="Measure the driver instead, with a stand-in for training that sleeps.")
    ] = False,
    trials: Annotated[int, typer.Option(min=10, help="With --driver: trials.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="With --driver: runs of a trial.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="With --driver: workers that sleep.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.0, help="With --driver: how long a run sleeps.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="With --driver: folder for load.json and its figure.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the trainer on this machine: against a matrix product, and against plain training."""
    if driver:
        _bench_driver(trials, seeds, workers, seconds, out, as_json)
        return
    from rich.console import Console

    from irm_study.bench import benchmark
    from irm_study.execution import check_device

    check_device(device)
    with Console(stderr=True).status("bench", refresh_per_second=1) as line:
        measured = benchmark(device, show=line.update)
    if as_json:
        print_json(measured)
        return
    from irm_study.cli.tables import print_bench

    print_bench(measured)


def _bench_driver(trials: int, seeds: int, workers: int, seconds: float, out: Path | None, as_json: bool) -> None:
    from irm_study.bench import driver_load, write_load

    measured = driver_load(trials, seeds, workers, seconds)
    if out is not None:
        write_load(measured, out)
    if as_json:
        print_json(measured)
        return
    from irm_study.cli.tables import print_driver_load

    print_driver_load(measured)
