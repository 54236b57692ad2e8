"""The columns of the table of runs, each declared once: name, kind, type, meaning, and how a derived one is computed.

Writing, reading, judging, runs.csv, the empty table and the documentation's table of columns go by these declarations
and their order. A hyperparameter's column comes from its field of `RunConfig`; a new derived column is a new entry of
`DERIVED`. How rows are stored and read is in `table`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from irm_study.config import EnvironmentSpec, RunConfig, StudySpec
from irm_study.diagnosis import CRITERIA, PROBES, QUANTITIES
from irm_study.results.judging import JudgedRun

STAGES = ("search", "confirm", "criterion", "neighbour", "draws", "region", "train")
"""Why a run was trained. Of a run that is stored twice, the stage that comes first here is its own."""
CURVE = "curve_"
"""How the names of curves begin, and no others'."""
EXAMPLES = f"{CURVE}examples"
"""The only list with a number for each environment, not for each checkpoint."""

TEXT, WHOLE, NUMBER, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
WHOLES, NUMBERS = pa.list_(pa.int64()), pa.list_(pa.float32())
TYPE_NAMES = {
    TEXT: "text",
    WHOLE: "whole number",
    NUMBER: "number",
    FLAG: "true or false",
    WHOLES: "list of whole numbers",
    NUMBERS: "list of numbers",
}
"""For the documentation."""


@dataclass(frozen=True)
class Column:
    """A column of the table of runs.

    kind: `key` says which run it is, `hyperparameter` how it was trained, `measured` and `curve` what was measured of
    it (a curve is a list with a value for each checkpoint), `derived` what follows from those and is computed whenever
    the table is read. type: as Arrow has it. meaning: a sentence, with the unit. derive: of a derived column, its value
    for one run. default: as JSON, what parts of the table are read with that were written before the column was
    added; None: a part without the column is refused.
    """

    name: str
    kind: Literal["key", "hyperparameter", "measured", "curve", "derived"]
    type: pa.DataType
    meaning: str
    derive: Callable[[JudgedRun], Any] | None = None
    default: str | None = None


STUDY = Column("study", "key", TEXT, "Name of the study; not stored in the parts, which are all of one study.")
DIGEST = "digest"
KEYS = (
    Column("stage", "key", TEXT, f"Why the run was trained: {', '.join(STAGES)}."),
    Column("trial", "key", WHOLE, "Number of its trial; on fresh seeds, of the trial that is confirmed or varied."),
    Column("seed", "key", WHOLE, "Seed that every random stream of the run is derived from."),
    Column(
        DIGEST,
        "key",
        TEXT,
        "Digest of digits, environments and the hyperparameters that have an effect; with the seed it names the run.",
    ),
)
MEASURED = (
    Column("epochs_trained", "measured", WHOLE, "Epoch in which the run ended."),
    Column("stopped", "measured", TEXT, "Why it ended before its last epoch; empty when it did not."),
    Column("shared_epochs", "measured", WHOLE, "How many of its first epochs were trained once for several runs."),
    Column(
        "seconds",
        "measured",
        NUMBER,
        "Seconds that its training took, divided among runs that are trained together.",
    ),
    Column("device", "measured", TEXT, "Torch device that it was trained on."),
)
QUANTITY_MEANINGS = {
    "nll": "Mean negative log-likelihood, in nats",
    "accuracy": "Accuracy, a fraction",
    "gradient": "Signed gradient of the risk with respect to a scale on the logits; its square is the IRMv1 penalty",
    "spread": "Standard deviation of the logits",
    "positive_share": "Share of examples that are predicted positive",
}
PROBE_MEANINGS = {
    "grey_accuracy": "Accuracy on some training images made grey, a fraction",
    "swapped_accuracy": "Accuracy on some training images in the other colour, a fraction",
    "swap_share": "Share of the predictions on some training images that change with the colour",
}
AT_END = "at the end of the run, a fraction; NaN of a run that diverged"
DERIVED = (
    Column("failure_mode", "derived", TEXT, "How the run ended, with the test environment as evidence.",
           lambda run: run.diagnosis.mode),
    Column("failure_since", "derived", WHOLE, "Epoch from which the failure mode held until the end.",
           lambda run: run.diagnosis.since),
    Column("failure_mode_heldout", "derived", TEXT,
           "The failure mode extrapolated from what is held out of the training environments; empty without that.",
           lambda run: run.mode("heldout")),
    Column("failure_mode_recoloured", "derived", TEXT,
           "The failure mode with recoloured training images as evidence: whoever recolours knows what is spurious.",
           lambda run: run.mode("recoloured")),
    Column("failure_mode_validation", "derived", TEXT,
           "The failure mode with the validation environment as evidence; empty where there is none.",
           lambda run: run.mode("validation")),
    Column("failure_mode_unseen", "derived", TEXT,
           "The failure mode with the digits' own test set as evidence; empty where the study does not measure on it.",
           lambda run: run.mode("unseen")),
    Column("score", "derived", NUMBER,
           "Score by the study's criterion; a run that diverged or collapsed counts as accuracy 0.",
           lambda run: run.score),
    Column("train_accuracy", "derived", NUMBER, f"Mean accuracy over the training environments {AT_END}.",
           lambda run: float(run.train_accuracies.mean())),
    Column("train_accuracy_min", "derived", NUMBER, f"Lowest accuracy of the training environments {AT_END}.",
           lambda run: float(run.train_accuracies.min())),
    Column("test_accuracy", "derived", NUMBER, f"Accuracy in the test environment {AT_END}.",
           lambda run: run.accuracy("test")),
    Column("heldout_accuracy", "derived", NUMBER,
           f"Accuracy on the test environment's digits, coloured as in training, {AT_END}.",
           lambda run: run.accuracy("heldout")),
    Column("validation_accuracy", "derived", NUMBER,
           f"Accuracy in the validation environment {AT_END}, and where there is no such environment.",
           lambda run: run.accuracy("validation")),
    Column("unseen_accuracy", "derived", NUMBER,
           f"Accuracy on the digits' own test set, coloured as in the test environment, {AT_END}, and where a study "
           "does not measure on it.",
           lambda run: run.accuracy("unseen")),
    Column("shape_skill", "derived", NUMBER,
           f"S: accuracy where colour tells nothing, in (0, 1), 0.5 of what knows nothing, {AT_END}.",
           partial(JudgedRun.last_skill, name="shape")),
    Column("colour_reliance", "derived", NUMBER,
           f"B: how far it leans on colour, 0: not at all, 1: it is the colour, {AT_END}.",
           partial(JudgedRun.last_skill, name="colour")),
    Column("memorisation", "derived", NUMBER, f"M: training accuracy less held-out accuracy {AT_END}.",
           partial(JudgedRun.last_skill, name="memorised")),
    Column("skill_residual", "derived", NUMBER,
           f"Largest distance of an environment's accuracy from what S, B and M say of it {AT_END}.",
           partial(JudgedRun.last_skill, name="residual")),
    Column("train_nll", "derived", NUMBER,
           "Mean negative log-likelihood over the training environments at the end of the run, in nats.",
           lambda run: float(run.curves.nll[-1, run.curves.train].mean())),
    Column("evidence", "derived", TEXT, "The numbers that decided the failure mode, each with its name.",
           lambda run: run.diagnosis.evidence_text),
    Column("explanation", "derived", TEXT, "What the failure mode means, and what to change.",
           lambda run: run.diagnosis.explanation),
    *(
        Column(probe, "derived", NUMBER, f"{PROBE_MEANINGS[probe]}, at the end of the run.",
               partial(JudgedRun.probe, name=probe))
        for probe in PROBES
    ),
)  # fmt: skip
"""Those of each criterion are added by `derived_columns`."""


def table_columns(environments: EnvironmentSpec) -> tuple[Column, ...]:
    """Every column of `StudyRecord.runs`, in order; runs.csv has the same but for curves."""
    return (STUDY, *stored_columns(environments), *derived_columns())


def stored_columns(environments: EnvironmentSpec) -> tuple[Column, ...]:
    """The columns of the stored table. Its curves are as many as the study's environments need."""
    return (*KEYS, *hyperparameters(), *MEASURED, *_curves(environments.names))


def derived_columns() -> tuple[Column, ...]:
    """The columns that are computed when the table is read."""
    scores = (
        Column(
            f"score_{name}",
            "derived",
            NUMBER,
            f"Score by the criterion `{name}`; NaN where the environments do not allow it.",
            partial(JudgedRun.score_by, criterion=name),
        )
        for name in CRITERIA
    )
    return (*DERIVED, *scores)


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Arrow's schema of some columns, with the defaults that older parts are read with as metadata."""
    return pa.schema(
        pa.field(column.name, column.type, metadata={"default": column.default} if column.default else None)
        for column in columns
    )


def empty_runs(spec: StudySpec) -> pd.DataFrame:
    """`StudyRecord.runs` of a study without runs: every column, with its type, and no row."""
    return schema_of(table_columns(spec.environments)).empty_table().to_pandas()


def is_curve(name: str) -> bool:
    """Whether a column of that name holds curves, whatever the environments."""
    return name.startswith(CURVE)


def columns_markdown() -> str:
    """The table of columns for the documentation, in Markdown. Of curves, a row for each quantity."""
    curves = _curves(("<environment>",))
    columns = (STUDY, *KEYS, *hyperparameters(), *MEASURED, *derived_columns(), *curves)
    rows = [f"| `{each.name}` | {each.kind} | {TYPE_NAMES[each.type]} | {each.meaning} |" for each in columns]
    return "\n".join(["| column | kind | type | meaning |", "|---|---|---|---|", *rows]) + "\n"


def hyperparameters() -> tuple[Column, ...]:
    """The columns that hold a run's configuration."""
    types: dict[Any, pa.DataType] = {int: WHOLE, int | None: WHOLE, float: NUMBER, bool: FLAG}
    return tuple(
        Column(
            name,
            "hyperparameter",
            types.get(field.annotation, TEXT),
            " ".join((field.description or "").split()),
            default=json.dumps(field.default),
        )
        for name, field in RunConfig.model_fields.items()
    )


def _curves(environments: Sequence[str]) -> tuple[Column, ...]:
    """As `diagnosis.curve_columns` writes them."""
    return (
        Column(f"{CURVE}epoch", "curve", WHOLES, "Epochs trained at each checkpoint, from 0 to the run's end."),
        Column(f"{CURVE}penalty_weight", "curve", NUMBERS, "Penalty weight of the epoch after each checkpoint."),
        *(
            Column(
                f"{CURVE}{quantity}_{name}",
                "curve",
                NUMBERS,
                f"{QUANTITY_MEANINGS[quantity]}, in this environment at each checkpoint.",
            )
            for quantity in QUANTITIES
            for name in environments
        ),
        *(
            Column(f"{CURVE}{probe}", "curve", NUMBERS, f"{PROBE_MEANINGS[probe]}, at each checkpoint.")
            for probe in PROBES
        ),
        Column(EXAMPLES, "curve", WHOLES, "Examples of each environment, in the order of the environments."),
    )
