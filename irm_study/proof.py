"""Pictures of what fresh seeds prove, with what each shows and what follows: regret, neighbours, eyes, draws.

Only those that a study has the runs for: a picture without numbers is left out of the page.
"""

from __future__ import annotations

import pandas as pd

from irm_study import stability
from irm_study.drawing import MODE_NAMES, words
from irm_study.findings import SECTIONS, Picture, counted, interval, percent
from irm_study.records import StudyRecord


def describe_proof(record: StudyRecord) -> list[Picture]:
    """The pictures that a study has the runs for, as `findings.describe` has those of every study."""
    stable, fail, believe = SECTIONS
    near, crossed = stability.neighbourhood(record), stability.crossed(record)
    seen, regrets = stability.agreement(record), stability.regret(record)
    pictures = [
        Picture(
            "neighbourhood", "The winner's neighbourhood", stable,
            "How often the winner ends in the target zone when one of its hyperparameters is multiplied, on the same "
            "fresh seeds; the filled mark is the winner itself, bars are 95% Wilson intervals.",
            conclude_neighbourhood(near), (near,),
        ),
        Picture(
            "draws", "What the seed changes", stable,
            "Test accuracy (%) of the winner for each draw of data and each draw of first parameters.",
            conclude_draws(record), (crossed,),
        ),
        Picture(
            "eyes", "Verdicts without the test environment", fail,
            "The failure mode that each run gets with the test environment (rows), and the one that it would get "
            "without it (columns).",
            conclude_eyes(seen), (seen,),
        ),
        Picture(
            "regret", "What other criteria would have chosen", believe,
            "Each criterion's choice among this study's complete trials, on fresh seeds: the lowest of its training "
            "and test accuracies, mean with 95% bootstrap interval. The distance to the dashed line is its regret.",
            conclude_regret(regrets), (regrets,),
        ),
    ]  # fmt: skip
    return [each for each in pictures if len(each.data[0]) and (each.name != "regret" or (regrets["n"] > 0).sum() > 1)]


def conclude_neighbourhood(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    centre = table[table["factor"] == 1].iloc[0]
    others = table[table["factor"] != 1]
    lowest = others.loc[others["share"].idxmin()]
    text = (
        f"The winner: {centre['successes']} of {centre['n']}. Lowest beside it: {lowest['successes']} of {lowest['n']} "
        f"({interval(lowest['low'], lowest['high'])}) at {lowest['factor']:g} times its "
        f"{words(lowest['hyperparameter'])}."
    )
    if (others["low"] >= centre["share"] - 0.2).all():
        return f"{text} No neighbour is worse by 20 points."
    if others["share"].max() > centre["high"]:
        best = others.loc[others["share"].idxmax()]
        return f"{text} {best['factor']:g} times its {words(best['hyperparameter'])} did better than the winner."
    return text


def conclude_draws(record: StudyRecord) -> str:
    shares = stability.spread(record)
    if shares is None:
        return ""
    if shares.data != shares.data:
        return "All runs ended alike: there is no spread to share out."
    parts = {"the draw of data": shares.data, "the initialisation": shares.initialisation,
             "neither alone": shares.rest}  # fmt: skip
    told = ", ".join(f"{percent(share)} from {name}" for name, share in parts.items())
    n = len(stability.crossed(record))
    return f"Of the variance of test accuracy {told}; {n} × {n} runs give rough shares."


def conclude_eyes(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    sentences = []
    names = {"train": "training images alone", "validation": "the validation environment"}
    for eyes, own in table.groupby("eyes", sort=False):
        same = int(own.loc[own["failure_mode"] == own["seen_as"], "runs"].sum())
        apart = own[own["failure_mode"] != own["seen_as"]]
        text = f"From {names[str(eyes)]}, {same} of {counted(int(own['runs'].sum()), 'run')} get the same verdict"
        if len(apart):
            most = apart.loc[apart["runs"].idxmax()]
            text += f"; most often apart: {MODE_NAMES[most['failure_mode']]} seen as {MODE_NAMES[most['seen_as']]}"
        sentences.append(f"{text}.")
    return " ".join(sentences)


def conclude_regret(table: pd.DataFrame) -> str:
    tried = table[table["n"] > 0]
    if tried.empty:
        return "No choice was tried on fresh seeds."
    blind = tried[~tried["criterion"].str.startswith("oracle")]
    own = table.iloc[0]
    if own["n"] == 0:
        return f"The study's own choice, trial {own['trial']}, was not tried on fresh seeds."
    text = f"The study's own choice, trial {own['trial']}, has a regret of {100 * own['regret']:.1f} points"
    if len(blind) and not blind.index.equals(tried.index[:1]):
        best = blind.loc[blind["regret"].idxmin()]
        text += (
            f"; the best chooser that did not look at the test environment ({words(best['criterion'])}, "
            f"{words(best['aggregate'])}) took trial {best['trial']}, with {100 * best['regret']:.1f}"
        )
    return f"{text}."
