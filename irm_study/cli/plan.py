"""What `run --dry-run` prints: the whole study with every default, and what it will cost here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from irm_study.cli.as_json import print_json

if TYPE_CHECKING:
    from irm_study.config import StudySpec


def print_plan(spec: StudySpec, jobs: int | None, as_json: bool) -> None:
    """The study as TOML on stdout, what it costs on stderr; or both as JSON. jobs: as `study.costs` takes it."""
    from irm_study.config import study_toml
    from irm_study.progress import duration
    from irm_study.study import estimate, product_speed

    cost = estimate(spec, product_speed(), jobs)
    if as_json:
        print_json({"study": spec.model_dump(mode="json", exclude_none=True), **cost._asdict()})
        return
    print(study_toml(spec))
    print(
        f"nothing was trained; at most {cost.runs} runs, about {duration(cost.seconds)} and "
        f"{cost.memory_bytes / 2**30:.1f} GiB of memory, on {'every core' if jobs is None else f'{jobs} processes'} "
        "of this machine as busy as it is now",
        file=sys.stderr,
    )
