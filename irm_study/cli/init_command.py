"""The command `init`: a study file to begin with, from a few answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from irm_study.errors import ConfigError, shown_command

TEXT = """\
# A study of irm-study: `irm-study run {file}` runs it, with --dry-run it says what that costs.
name = {name}
digits = "{digits}"                  # embedded | mnist | fashion-mnist | kmnist

[environments]
train_flips = {train_flips}             # how often colour disagrees with the label, in each training environment
test_flip = 0.9                      # colour reversed
label_noise = 0.25
{unseen}{evidence}
[run]                                # what all runs share; any of its keys can be searched instead
hidden = {hidden}
epochs = {epochs}

[search]                             # a range, or a list of choices
penalty_weight = {{ low = 1e2, high = 1e6, log = true }}
ramp = ["step", "linear", "exponential"]
ramp_epochs = {{ low = 10, high = {ramp_epochs} }}
anneal_epoch = {{ low = 10, high = {anneal_epoch} }}
learning_rate = {{ low = {low_rate}, high = {high_rate}, log = true }}
l2_weight = {{ low = 2e-4, high = 4e-3, log = true }}

[study]
trials = {trials}
seeds = {seeds}                            # runs of each trial
criterion = "{criterion}"            # how far inside the target zone

[confirm]
top = 3                              # of the best configurations
seeds = 20                           # that the search never saw
baselines = true                     # plain risk minimisation and a grey oracle beside them
"""
UNSEEN = "unseen_examples = 10000              # of the digits' own test set: measured, never chosen by\n"
EVIDENCE = {
    "test": ("zone_margin", ""),
    "validation": (
        "zone_margin_validation",
        "validation_flip = 0.5                # a fourth environment, to choose by\n",
    ),
    "heldout": (
        "zone_margin_heldout",
        "heldout_examples = 2000              # of each training environment, to extrapolate from\n",
    ),
}
"""By what configurations are chosen: the criterion, and what it needs of the environments."""


def init(
    file: Annotated[Path, typer.Argument(help="The study file to write.")] = Path("study.toml"),
    digits: Annotated[str | None, typer.Option(help="embedded, mnist, fashion-mnist or kmnist.")] = None,
    flips: Annotated[
        str | None, typer.Option(help="Colour flips of the training environments, as 0.2,0.1 (the authors').")
    ] = None,
    choose_by: Annotated[
        str | None,
        typer.Option(help="test (an oracle), validation (a fourth environment) or heldout (no other environment)."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Configurations that are tried.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each.")] = None,
) -> None:
    """Write a commented study file; what no option says is asked, or in a script taken as it usually is."""
    from irm_study.config import read_study
    from irm_study.files import write_text

    if file.exists():
        raise ConfigError(f"{file}: is there already; name another file, or delete it")
    asked = sys.stdin.isatty()

    def answer(given: str | None, question: str, usual: str) -> str:
        if given is not None:
            return given
        return str(typer.prompt(question, default=usual, err=True)) if asked else usual

    digits = answer(digits, "Digits: embedded (5,000, offline), mnist, fashion-mnist or kmnist", "embedded")
    embedded = digits == "embedded"
    flips = answer(flips, "Colour flips of the training environments", "0.4,0.1" if embedded else "0.2,0.1")
    choose_by = answer(choose_by, f"Choose configurations by: {', '.join(EVIDENCE)}", "test")
    if choose_by not in EVIDENCE:
        raise ConfigError(f"--choose-by {choose_by!r}: one of: {', '.join(EVIDENCE)}")
    criterion, evidence = EVIDENCE[choose_by]
    trials_text = answer(None if trials is None else str(trials), "Trials (configurations that are tried)", "20")
    seeds_text = answer(None if seeds is None else str(seeds), "Seeds (runs of each)", "4")
    hidden, epochs, rates = (64, 161, ("1e-3", "1e-2")) if embedded else (256, 401, ("3e-4", "3e-3"))
    text = TEXT.format(
        file=file, name=json.dumps(file.stem), digits=digits, train_flips=f"[{flips}]", evidence=evidence,
        unseen="" if embedded else UNSEEN,
        hidden=hidden, epochs=epochs, ramp_epochs=60, anneal_epoch=100 if embedded else 250,
        low_rate=rates[0], high_rate=rates[1], trials=trials_text, seeds=seeds_text,
        criterion=criterion,
    )  # fmt: skip
    write_text(file, text)
    try:
        read_study(file)
    except ConfigError:
        file.unlink()
        raise
    plan, start = (shown_command(["run", str(file), *more]) for more in (["--dry-run"], []))
    print(f"{file}\nwhat it costs: {plan}\nto run it: {start}")
