"""The command `list`: what is shipped, what each file is for, and what it costs here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from irm_study.cli.as_json import print_json
from irm_study.cli.options import AsJson


def list_shipped(as_json: AsJson = False) -> None:
    """List the shipped studies and configurations: what each is for, and about how long it takes here."""
    from irm_study.config import KINDS, shipped_files
    from irm_study.study import product_speed

    speed = product_speed()
    rows = [
        {"command": command, "name": name, **_described(path, command, speed)}
        for command in KINDS
        for name, path in shipped_files(command).items()
    ]
    if as_json:
        print_json({"files": rows})
        return
    from rich.console import Console
    from rich.table import Table

    from irm_study.progress import duration

    table = Table("command", "digits", "runs", "at most", "what for")
    for row in rows:
        command = f"irm-study {row['command']} {row['name']}"
        table.add_row(command, row["digits"], str(row["runs"]), duration(row["seconds"]), row["purpose"])
    Console(markup=False).print(table)
    print("at most: on every core of this machine, by the speed of a matrix product now; one seed for 'train'")


def _described(path: Path, command: str, speed: float) -> dict[str, Any]:
    """digits, runs, seconds, purpose (the first sentence of the file's comment)."""
    from irm_study.config import read_calibration, read_study, read_train
    from irm_study.study import estimate

    if command == "calibrate":
        ways = [spec for _, spec in read_calibration(path)[1].values()]
        costs = [estimate(spec, speed, seeds=20) for spec in ways]
        digits = ", ".join(dict.fromkeys(spec.digits for spec in ways))
    else:
        spec = read_study(path) if command == "run" else read_train(path)
        costs, digits = [estimate(spec, speed)], spec.digits
    return {
        "digits": digits,
        "runs": sum(cost.runs for cost in costs),
        "seconds": sum(cost.seconds for cost in costs),
        "purpose": purpose(path),
    }


def purpose(path: Path) -> str:
    """The first sentence of the comment that a file begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[.?])\s", " ".join(lines), maxsplit=1)[0]
