"""`irm-study bench`: how near the trainer is to what the machine can do, in one process on one device.

The authors' protocol on 50,000 images, in each precision that the processor has. In every round epochs of each case,
plain training and a large matrix product of each precision are timed one after the other, so that ratios hold when the
machine's speed drifts. Each is called once, then timed while it goes on, as in training. Results are medians over
rounds. On a CPU all cores are used, and the training of several processes of one thread at once, as in a study, is
measured too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from irm_study.bench.timing import begin_peak, peak, seconds_of, steady_seconds
from irm_study.bench.yardsticks import (
    ENVIRONMENTS,
    PRODUCT_OPERATIONS,
    matrix_product,
    memory_speed,
    reference_epoch,
    repeated_digits,
)
from irm_study.config import RunConfig
from irm_study.data import Digits, build_environments, load_digits
from irm_study.execution import LocalProcesses, available_cores, bfloat16_instructions, processor
from irm_study.training import Program, Run, TrainingState, compiled_loops, initial_state

WIDTHS = (256, 390)
BATCH_RUNS = 4
"""Runs side by side in the batched case."""
ROUNDS = 5
LAST_ROUND_SECONDS = 80.0
"""After which no new round begins: with what comes after them, all takes three minutes at most on two cores."""
PROBE_REPETITIONS = 21
"""How often the cost of the probes is measured."""
NO_CHECKPOINT = 10**6
"""Epochs to train and between checkpoints, so that timed epochs are nothing but training."""

Timed = tuple[str | int, ...]
"""What is timed: ("product", precision), ("reference", width) or ("trainer", width, precision, runs)."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Of the matrix products that a precision is compared with."""


@dataclass(frozen=True)
class Case:
    """The trainer at one width with so many runs. operations: floating-point operations of an epoch of all runs."""

    hidden: int
    precision: str
    runs: int
    operations: float
    peak_memory_bytes: int


def benchmark(device: str, rounds: int = ROUNDS, show: Callable[[str], None] = lambda doing: None) -> dict[str, Any]:
    """Measurements as `bench --json` prints them. Units: seconds, bytes, 1e9 operations a second, fractions.

    rounds: at most. show: is told what is being done, again and again.
    """
    digits = repeated_digits()
    cuda = torch.device(device).type == "cuda"
    instructions = () if cuda else bfloat16_instructions()
    precisions = ("float32", "bfloat16") if instructions else ("float32",)
    products = (*precisions, "float16") if cuda else precisions
    timed: dict[Timed, Callable[[], Any]] = {
        ("product", precision): matrix_product(device, DTYPES[precision]) for precision in products
    }
    cases = []
    for hidden in WIDTHS:
        show(f"first epochs at hidden {hidden}")
        timed["reference", hidden] = _warm(reference_epoch(_endless(hidden), digits, device))
        for precision in precisions:
            for runs in (1, BATCH_RUNS):
                before = begin_peak(device)
                epoch, operations = trainer_epoch(_endless(hidden, precision), digits, runs, device)
                timed["trainer", hidden, precision, runs] = _warm(epoch)
                cases.append(Case(hidden, precision, runs, operations, peak(device) - before))
    seconds = _timed_in_rounds(timed, rounds, device, show)
    speeds = {each: PRODUCT_OPERATIONS / statistics.median(seconds["product", each]) / 1e9 for each in products}
    show("probes")
    result = {
        "device": _device_name(device),
        "instructions": [] if cuda else [torch.backends.cpu.get_cpu_capability(), *instructions],
        "loops": "TorchScript" if compiled_loops() else "Python",
        "rounds": len(seconds["product", "float32"]),
        "matmul_gflops": speeds if len(speeds) > 1 else speeds["float32"],
        "cases": [_measured(case, seconds) for case in cases],
        "probes": _probes(digits, device),
    }
    if cuda:
        result["memory_gigabytes_per_second"] = memory_speed(device)
    else:
        show("several processes at once")
        result["processes"] = processes_speed()
    return result


def trainer_epoch(config: RunConfig, digits: Digits, runs: int, device: str) -> tuple[Callable[[], None], float]:
    """One epoch of the trainer on `runs` seeds, to be timed, and its floating-point operations.

    Operations are those of the sorted rows: of each example the pixels of its block in one channel, forward and back,
    and the hidden layers three times.
    """
    program, state = _started(config, digits, runs, device)
    examples = program.data.train.rows[0].numel()
    images = [block.images for block in program.full_batch.blocks]
    pixels = sum(each.numel() for each in images) / sum(each[..., 0].numel() for each in images) - 1
    operations = 2.0 * runs * examples * (2 * pixels * config.hidden + 3 * config.hidden**2)
    return _epoch(program, state), operations


def probes_share(config: RunConfig, digits: Digits, device: str) -> float:
    """Seconds of the probes at a checkpoint over seconds of training between two checkpoints; of one run."""
    program, state = _started(config, digits, 1, device)
    train, epoch = program.train_logits(state), _epoch(program, state)
    probe = _warm(lambda: program.measurement.probe(state.parameters, train, last=False))
    _warm(epoch)
    return statistics.median(
        seconds_of(probe, device) / (config.checkpoint_interval * seconds_of(epoch, device))
        for _ in range(PROBE_REPETITIONS)
    )


def processes_speed(epochs: int = 8) -> dict[str, float]:
    """Training on all cores at once, a process of one thread on each, over training in one such process alone."""
    jobs = available_cores()
    if jobs == 1:
        return {"processes": 1, "ratio": 1.0, "fraction": timed_training(epochs)[1]}
    alone, together, fractions = [], [], []
    with LocalProcesses(jobs) as pool:
        for future in [pool.submit(timed_training, 1) for _ in range(jobs)]:
            future.result()
        for _ in range(3):
            seconds, fraction = pool.submit(timed_training, epochs).result()
            alone.append(seconds)
            fractions.append(fraction)
            futures = [pool.submit(timed_training, epochs) for _ in range(jobs)]
            together.append(max(future.result()[0] for future in futures))
    ratio = statistics.median(jobs * one / all_ for one, all_ in zip(alone, together, strict=True))
    return {"processes": jobs, "ratio": ratio, "fraction": statistics.median(fractions)}


def timed_training(epochs: int) -> tuple[float, float]:
    """Seconds of some epochs of one run at the smaller width on one thread, and their speed as a fraction of a matrix
    product's on one thread; in a worker process."""
    torch.set_num_threads(1)
    epoch, operations = trainer_epoch(_endless(WIDTHS[0]), repeated_digits(), 1, "cpu")
    product = matrix_product("cpu", torch.float32)
    _warm(epoch)
    seconds = sum(seconds_of(epoch, "cpu") for _ in range(epochs))
    speed = operations * epochs / seconds
    return seconds, speed / (PRODUCT_OPERATIONS / seconds_of(product, "cpu"))


def _endless(hidden: int, precision: str = "float32") -> RunConfig:
    endless = RunConfig(hidden=hidden, epochs=NO_CHECKPOINT, checkpoint_every=NO_CHECKPOINT, anneal_epoch=0)
    return endless.model_copy(update={"precision": precision})


def _started(config: RunConfig, digits: Digits, runs: int, device: str) -> tuple[Program, TrainingState]:
    data = build_environments(digits, ENVIRONMENTS, range(runs), device)
    state = initial_state([Run(seed, config, seed) for seed in range(runs)], data)
    return Program(data, state), state


def _epoch(program: Program, state: TrainingState) -> Callable[[], None]:
    return lambda: program.epoch(state, program.forward(state))


def _warm(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, after it was called once: what only the first call does is not timed."""
    call()
    return call


def _timed_in_rounds(
    timed: Mapping[Timed, Callable[[], Any]], rounds: int, device: str, show: Callable[[str], None]
) -> dict[Timed, list[float]]:
    """Seconds of each call, one number a round."""
    seconds: dict[Timed, list[float]] = {name: [] for name in timed}
    began = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - began > LAST_ROUND_SECONDS:
            break
        for name, call in timed.items():
            show(f"round {number + 1} of {rounds}: {' '.join(map(str, name))}")
            call()
            seconds[name].append(steady_seconds(call, device))
    return seconds


def _measured(case: Case, seconds: Mapping[Timed, list[float]]) -> dict[str, Any]:
    """A case as `bench --json` prints it. Ratios are of the same round."""
    own, product, reference = (
        seconds["trainer", case.hidden, case.precision, case.runs], seconds["product", case.precision],
        seconds["reference", case.hidden],
    )  # fmt: skip
    epoch_seconds = statistics.median(own)
    return {
        "model": "mlp",
        "hidden": case.hidden,
        "runs": case.runs,
        "precision": case.precision,
        "epoch_seconds": epoch_seconds,
        "gflops": case.operations / epoch_seconds / 1e9,
        "fraction": case.operations / PRODUCT_OPERATIONS * _median_ratio(product, own),
        "speedup": case.runs * _median_ratio(reference, own),
        "reference_epoch_seconds": statistics.median(reference),
        "peak_memory_bytes": case.peak_memory_bytes,
    }


def _median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def _probes(digits: Digits, device: str) -> dict[str, float]:
    """`probes_share` of the authors' protocol, and of the quickstart's on one thread, as processes of a study have
    it."""
    authors = probes_share(RunConfig(), digits, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        embedded = probes_share(RunConfig(hidden=64, epochs=161), load_digits("embedded"), device)
    finally:
        torch.set_num_threads(threads)
    return {"authors": authors, "embedded": embedded}


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"
