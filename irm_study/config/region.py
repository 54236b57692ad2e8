"""The region of a study as its file has it: a box in the study's search space, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from irm_study.config.run import Seed
from irm_study.config.space import Range, Space
from irm_study.config.study import StudySpec
from irm_study.config.validation import Section, shown

Share = Annotated[float, Field(ge=0, le=1)]


class RegionSection(Section):
    """How a region was found, before any run of its proof.

    rate: above which success is predicted in all of it, and lowest: the lowest prediction there. trial: around which
    it was grown. attempt: how many regions of the study were looked for, this one included. first_seed: of its proof.
    loss, base_loss: cross-validated mean log loss of a run in nats, of the model and of the success rate alone;
    p_value: of no difference. configurations, runs, successes: that it was fitted to. share: of the search space's
    volume.
    """

    rate: Annotated[float, Field(gt=0, lt=1)]
    lowest: Share
    trial: int = Field(ge=0)
    attempt: int = Field(ge=1, le=1000)
    first_seed: Seed
    loss: Annotated[float, Field(ge=0)]
    base_loss: Annotated[float, Field(ge=0)]
    p_value: Share
    configurations: int = Field(ge=1)
    runs: int = Field(ge=1)
    successes: int = Field(ge=0)
    share: Share


@dataclass(frozen=True)
class StudyRegion:
    """A box that runs are predicted to succeed in. spec: the study of the box alone, its [run] the box's middle."""

    spec: StudySpec
    found: RegionSection

    @property
    def box(self) -> Space:
        return self.spec.search


def outside(box: Space, search: Space) -> str | None:
    """What keeps a box from being one of a search space; None where it is."""
    if set(box) != set(search):
        return f"search: must have the study's hyperparameters, {', '.join(search)}; got {', '.join(box)}"
    for key, own in box.items():
        entry: Range | tuple[object, ...] = search[key]
        if isinstance(entry, Range) and isinstance(own, Range):
            inside = own.log == entry.log and entry.low <= own.low and own.high <= entry.high
        else:
            inside = not isinstance(entry, Range) and not isinstance(own, Range) and set(own) <= set(entry)
        if not inside:
            return f"search.{key}: must lie in the study's; got {shown(_plain(own))}"
    return None


def _plain(entry: Range | tuple[object, ...]) -> Mapping[str, object] | list[object]:
    return entry.model_dump(exclude_none=True) if isinstance(entry, Range) else list(entry)
