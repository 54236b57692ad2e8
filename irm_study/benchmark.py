"""`irm-study bench`: how near the trainer is to what the machine can do, in one run on one device.

The authors' protocol on 50,000 images, the embedded digits many times over. Every round times epochs of each
case, of the plain reference and a large matrix product beside each other, so that ratios hold when the machine's
speed drifts: as many in a row as last half a second, after one of the same kind, as in training. Medians over rounds
are told. On a CPU all cores are used, and what as many processes of one thread do together, as in a study, is
measured too.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from irm_study.config import EnvironmentSpec, RunConfig
from irm_study.digits import Digits, load_digits
from irm_study.environments import Examples, build_environments, paint
from irm_study.execution import available_cores, local_processes, processor
from irm_study.training import Program, Trainer

WIDTHS = (256, 390)
BATCH = 4
"""Runs of the batched case."""
ROUNDS = 5
SPAN = 0.5
"""Seconds that each of them is timed for, at least: a shorter moment tells of what else the machine does."""
PRODUCT = 3072
"""Side of the matrices whose product is the yardstick: on a CPU it takes about as long as an epoch."""
PRODUCT_OPERATIONS = 2 * PRODUCT**3
PROBED = 21
"""How often the probes' cost is measured."""
ENVIRONMENTS = EnvironmentSpec()


def benchmark(device: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measurements as `bench --json` prints them. Seconds, bytes, 1e9 operations a second, fractions."""
    digits = repeated_digits()
    products = {"float32": matrix_product(device, torch.float32)}
    if torch.device(device).type == "cuda":
        products["float16"] = matrix_product(device, torch.float16)
    cases, timed = [], dict(products)
    for hidden in WIDTHS:
        config = RunConfig(hidden=hidden, epochs=10**6, checkpoint_every=10**6, anneal_epoch=0)
        timed["reference", hidden] = _warm(reference_epoch(config, digits, device))
        for runs in (1, BATCH):
            before = begin_peak(device)
            epoch, operations = trainer_epoch(config, digits, runs, device)
            timed["trainer", hidden, runs] = _warm(epoch)
            cases.append({"hidden": hidden, "runs": runs, "operations": operations,
                          "peak_memory_bytes": peak(device) - before})  # fmt: skip
    seconds: dict[Any, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            call()
            seconds[name].append(_steady_seconds(call, device))
    median = {name: statistics.median(values) for name, values in seconds.items()}

    def beside(case: dict[str, Any], other: Any) -> float:
        """What another took for a second of a case's epoch, in the same round."""
        own = seconds["trainer", case["hidden"], case["runs"]]
        return statistics.median(theirs / ours for theirs, ours in zip(seconds[other], own, strict=True))

    result = {
        "device": _device_name(device),
        "matmul_gflops": PRODUCT_OPERATIONS / median["float32"] / 1e9,
        "cases": [
            {
                "model": "mlp",
                "hidden": case["hidden"],
                "runs": case["runs"],
                "precision": "float32",
                "epoch_seconds": median["trainer", case["hidden"], case["runs"]],
                "gflops": case["operations"] / median["trainer", case["hidden"], case["runs"]] / 1e9,
                "fraction": case["operations"] / PRODUCT_OPERATIONS * beside(case, "float32"),
                "speedup": case["runs"] * beside(case, ("reference", case["hidden"])),
                "reference_epoch_seconds": median["reference", case["hidden"]],
                "peak_memory_bytes": case["peak_memory_bytes"],
            }
            for case in cases
        ],
        "probes": {
            "authors": probes_share(RunConfig(), digits, device),
            "embedded": as_in_a_study(
                lambda: probes_share(RunConfig(hidden=64, epochs=161), load_digits("embedded"), device)
            ),
        },
    }
    if "float16" in median:
        result["matmul_float16_gflops"] = PRODUCT_OPERATIONS / median["float16"] / 1e9
        result["memory_gigabytes_per_second"] = memory_speed(device)
    else:
        result["processes"] = processes_speed()
    return result


def trainer_epoch(config: RunConfig, digits: Digits, runs: int, device: str) -> tuple[Callable[[], None], float]:
    """One epoch of the trainer on `runs` seeds, and its floating-point operations by the sorted rows:
    of each example its block's pixels of one channel, forward and back, and the hidden layers thrice."""
    seeds = list(range(runs))
    trainer = Trainer(build_environments(digits, ENVIRONMENTS, seeds, device), config, [config] * runs, seeds)
    lanes = trainer.start(seeds)
    program = Program(trainer, lanes)
    examples = trainer.data.train.rows[0].numel()
    images = [block.images for block in program.full.blocks]
    pixels = sum(each.numel() for each in images) / sum(each[..., 0].numel() for each in images) - 1
    operations = 2.0 * runs * examples * (2 * pixels * config.hidden + 3 * config.hidden**2)

    def epoch() -> None:
        program.epoch(lanes, program.forward(lanes))

    return epoch, operations


def probes_share(config: RunConfig, digits: Digits, device: str) -> float:
    """What the probes take at a checkpoint, over the training between two of them; of one run."""
    trainer = Trainer(build_environments(digits, ENVIRONMENTS, [0], device), config, [config], [0])
    lanes = trainer.start([0])
    program = Program(trainer, lanes)
    train = program.train_logits(lanes)

    def epoch() -> None:
        program.epoch(lanes, program.forward(lanes))

    probe = _warm(lambda: program.probe(lanes, train))
    _warm(epoch)
    return statistics.median(
        _seconds(probe, device) / (config.checkpoint_interval * _seconds(epoch, device)) for _ in range(PROBED)
    )


def as_in_a_study(measured: Callable[[], float]) -> float:
    """On one thread, as each process of a study has it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured()
    finally:
        torch.set_num_threads(threads)


def reference_epoch(config: RunConfig, digits: Digits, device: str) -> Callable[[], None]:
    """One epoch as the published scripts do it: one run, eager, all pixels of both channels, the penalty's
    second derivative by autograd, the test environment at every epoch."""
    data = build_environments(digits, ENVIRONMENTS, [0], device)
    inputs = []
    for examples in (*_environments_of(data.train), data.measured["test"]):
        inputs.append((paint(data, examples)[0].flatten(1).contiguous(), examples.labels[0][:, None]))
    width = inputs[0][0].shape[1]
    network = nn.Sequential(
        nn.Linear(width, config.hidden), nn.ReLU(True), nn.Linear(config.hidden, config.hidden), nn.ReLU(True),
        nn.Linear(config.hidden, 1),
    ).to(device)  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def risk_and_penalty(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images)
        scale = torch.ones((), device=device, requires_grad=True)
        gradient = torch.autograd.grad(
            binary_cross_entropy_with_logits(logits * scale, labels), scale, create_graph=True
        )[0]
        return binary_cross_entropy_with_logits(logits, labels), gradient.square()

    def epoch() -> None:
        (risk1, penalty1), (risk2, penalty2), _ = [risk_and_penalty(*each) for each in inputs]
        decay = sum(parameter.norm().pow(2) for parameter in network.parameters())
        loss = (risk1 + risk2) / 2 + config.l2_weight * decay + config.penalty_weight * (penalty1 + penalty2) / 2
        optimizer.zero_grad()
        (loss / config.penalty_weight).backward()
        optimizer.step()

    return epoch


def processes_speed(epochs: int = 8) -> dict[str, float]:
    """Runs trained at once on all cores, a process of one thread each, over one such process alone."""
    jobs = available_cores()
    if jobs == 1:
        return {"processes": 1, "ratio": 1.0, "fraction": timed_training(epochs)[1]}
    pool = local_processes(jobs)
    for future in [pool.submit(timed_training, 1) for _ in range(jobs)]:
        future.result()
    alone, together, fractions = [], [], []
    for _ in range(3):
        seconds, fraction = pool.submit(timed_training, epochs).result()
        alone.append(seconds)
        fractions.append(fraction)
        futures = [pool.submit(timed_training, epochs) for _ in range(jobs)]
        together.append(max(future.result()[0] for future in futures))
    pool.shutdown(kill_workers=True)
    ratio = statistics.median(jobs * one / all_ for one, all_ in zip(alone, together, strict=True))
    return {"processes": jobs, "ratio": ratio, "fraction": statistics.median(fractions)}


def timed_training(epochs: int) -> tuple[float, float]:
    """Seconds of some epochs of one run on one thread, at the smaller width, and their speed as a fraction of a
    matrix product's on one thread; in a worker process."""
    torch.set_num_threads(1)
    config = RunConfig(hidden=WIDTHS[0], epochs=10**6, checkpoint_every=10**6, anneal_epoch=0)
    epoch, operations = trainer_epoch(config, repeated_digits(), 1, "cpu")
    product = matrix_product("cpu", torch.float32)
    _warm(epoch)
    seconds = sum(_seconds(epoch, "cpu") for _ in range(epochs))
    speed = operations * epochs / seconds
    return seconds, speed / (PRODUCT_OPERATIONS / _seconds(product, "cpu"))


def repeated_digits() -> Digits:
    """60,000 images as empty and as different in what they light as MNIST's: the trainer's speed depends on that."""
    digits = load_digits("embedded")
    images, labels = np.tile(digits.images, (12, 1, 1)), np.tile(digits.labels, 12)
    return Digits("repeated", images, labels, phases=1, test_digits=10_000)


def matrix_product(device: str, kind: torch.dtype) -> Callable[[], Tensor]:
    """A product of two square matrices of PRODUCT rows, to be timed."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(PRODUCT, PRODUCT, generator=generator).to(device, kind) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def memory_speed(device: str) -> float:
    """1e9 bytes a second, read and written, of a copy of a gigabyte."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    seconds = statistics.median(_seconds(lambda: target.copy_(source), device) for _ in range(10))
    return 2 * source.nbytes / seconds / 1e9


def _environments_of(train: Examples) -> Sequence[Examples]:
    return [
        Examples(train.rows[:, number], train.labels[:, number], train.colours[:, number])
        for number in range(train.rows.shape[1])
    ]


def _warm(call: Callable[[], Any]) -> Callable[[], Any]:
    call()
    return call


def _seconds(call: Callable[[], Any], device: str) -> float:
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _steady_seconds(call: Callable[[], Any], device: str) -> float:
    """Of one call, the median of as many in a row as last SPAN."""
    seconds: list[float] = []
    while sum(seconds) < SPAN:
        seconds.append(_seconds(call, device))
    return statistics.median(seconds)


def begin_peak(device: str) -> int:
    """Forget the highest memory use so far; returns the present one."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError):  # Linux alone can; elsewhere the process's peak is told
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    return 0


def peak(device: str) -> int:
    """Most bytes that this process has held so far, of the device's memory."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(field: str) -> int:
    """Bytes, from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"
