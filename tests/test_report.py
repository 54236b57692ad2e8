"""The page says what the tables say, obeys no name that it prints, asks the network for nothing, and repeats itself."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from irm_study.cli.tables import print_status, print_study
from irm_study.config import TrainSpec, study_digest
from irm_study.diagnosis import EXPLANATIONS
from irm_study.methods import RAMPS
from irm_study.report import DIGITS, EXHIBITS, MODE_NAMES, SECTIONS, chosen_by, write_report
from irm_study.report.details import FIELDS
from irm_study.report.page import first_screen
from irm_study.report.runs import configurations
from irm_study.results import summary
from irm_study.statistics import anytime_success_rate
from tests.synthetic import KINDS, study_record, study_spec, tied_record

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """kind → its record and the text of its page, written once."""
    made = {}

    def of(kind):
        if kind not in made:
            record = KINDS[kind](tmp_path_factory.mktemp("study"))
            made[kind] = record, write_report(record).read_text()
        return made[kind]

    return of


def shown(record):
    """Names of the exhibits that a record's page shows, in order."""
    return [name for name, exhibit in EXHIBITS.items() if not exhibit.describe(record).left_out]


def text_of(page, element_id):
    found = re.search(rf'<(\w+)[^>]*id="{element_id}"[^>]*>(.*?)</\1>', page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", found[2])).strip()


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_has_a_page_and_every_figure_as_svg_and_png(written, kind):
    record, page = written(kind)
    assert page.startswith("<!doctype html>")
    for name in shown(record):
        assert (record.folder / "figures" / f"{name}.svg").read_text().startswith("<?xml")
        assert (record.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    left = [path.name for path in record.folder.rglob("*") if path.name.endswith(".partial")]
    assert left == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_asks_for_anything_outside_itself(written, kind):
    _, page = written(kind)
    assert not re.search(r"""(?:src|href|action|data)\s*=\s*["']?(?!#|data:,)[^"'\s>]*[:/]""", re.sub(
        r"<script.*?</script>", "", page, flags=re.DOTALL))  # fmt: skip
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_and_references_lead_somewhere(written, kind):
    _, page = written(kind)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids) | {"mark-"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_a_title_a_description_and_a_caption_naming_the_digits(written, kind):
    record, page = written(kind)
    claim = DIGITS[record.spec.digits]
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert re.findall(r'<figure id="figure-(\w+)"', page) == shown(record)
    assert len(figures) == len(shown(record)) >= sum(each.left_out is None for each in EXHIBITS.values())
    for figure in figures:
        assert 'role="img" aria-labelledby=' in figure
        assert re.search(r"<title[^>]*>\S.*?</title><desc[^>]*>\S.*?</desc>", figure, re.DOTALL)
        assert claim in figure[figure.index("<figcaption>") :]


def test_sections_hold_every_exhibit_once_and_in_page_order(written):
    _, page = written("proven")
    names = [exhibit.name for exhibits in SECTIONS.values() for exhibit in exhibits]
    assert names == list(EXHIBITS) == re.findall(r'<figure id="figure-(\w+)"', page)
    headings = [html.unescape(text) for text in re.findall(r'<h2 id="section-\d">(.*?)</h2>', page)]
    assert headings == list(SECTIONS)


def test_tables_with_files_of_their_own_are_written_where_they_have_rows(written):
    record, _ = written("proven")
    assert {path.name for path in record.folder.glob("*.csv")} == {
        "regret.csv", "neighbourhood.csv", "agreement.csv", "region.csv",
    }  # fmt: skip
    record, _ = written("empty")
    assert list(record.folder.glob("*.csv")) == []


def test_embedded_digits_are_named_on_the_first_screen(written):
    _, page = written("plain")
    header = page[page.index("<header>") : page.index("</header>")]
    assert "5,000 embedded digits, not full MNIST" in header


def test_the_first_screen_says_what_plain_counting_says(written):
    record, page = written("plain")
    search, fresh = (record.runs[record.runs["stage"] == stage] for stage in ("search", "confirm"))
    successes, n = int((fresh["failure_mode"] == "invariant").sum()), len(fresh)
    rate = text_of(page, "success-rate")
    assert rate.startswith(f"{100 * successes / n:.0f}%")
    assert f"{successes} of {n} fresh seeds" in rate
    # As likely as any number of successes under a rate that may be any, over 20: `test_statistics` has the formula.
    low, high = anytime_success_rate(successes, n).interval
    assert f"{100 * low:.0f}% to {100 * high:.0f}% (at any number of seeds), n = {n}" in text_of(
        page, "success-interval"
    )
    verdict = text_of(page, "verdict")
    assert f"trial {fresh['trial'].iloc[0]}" in verdict and f"{successes} of {n} fresh seeds" in verdict
    header = page[page.index("<header>") : page.index("</header>")]
    counted = re.search(r'data-stage="search">(.*?)</ul>', header, re.DOTALL)[1]
    shown = {name: int(number) for number, name in re.findall(r"<b>([\d,]+)</b> ([\w-]+)", counted)}
    assert shown == {MODE_NAMES[mode]: number for mode, number in search["failure_mode"].value_counts().items()}


def test_the_first_screen_and_the_table_of_trials_agree(written):
    record, page = written("plain")
    best = first_screen(record, configurations(record))["best"]
    row = re.search(rf'<tr class="trial" data-trial="{best["trial"]}".*?</tr>', page, re.DOTALL)[0]
    assert f"{best['fresh_successes']} of {best['fresh_n']}</span>" in row
    assert f"{best['fresh_successes']} of {best['fresh_n']} fresh seeds" in text_of(page, "success-rate")


@pytest.mark.parametrize(
    ("criterion", "environments", "words"),
    [("oracle_min", {}, "looked at the test environment"),
     ("validation_min", {"validation_flip": 0.5}, "the test environment was not looked at"),
     ("train_only", {}, "training environments alone")],
)  # fmt: skip
def test_the_page_says_what_evidence_the_choice_used(criterion, environments, words):
    spec = study_spec(study={"criterion": criterion}, environments=environments)
    assert words in chosen_by(spec)


def test_an_oracle_stopping_rule_makes_the_choice_an_oracles():
    spec = study_spec(study={"criterion": "train_only"}, run={"stop": "oracle_target", "epochs": 201})
    assert chosen_by(spec).startswith("oracle")
    spec = study_spec(study={"criterion": "train_only"}, search={"stop": ["none", "oracle_target"]})
    assert chosen_by(spec) == "oracle: the stopping rule oracle_target looked at the test environment"


# A verdict no stronger than its interval


def verdict_of(folder, **kind):
    record = study_record(folder, **kind)
    return first_screen(record, configurations(record))


@pytest.mark.parametrize(
    ("flips", "easier"), [((0.2, 0.1), False), ((0.3, 0.2), False), ((0.45, 0.05), True), ((0.1, 0.2, 0.3), True)]
)
def test_environments_that_differ_more_than_the_authors_are_called_easier(tmp_path, flips, easier):
    spec = study_spec(environments={"train_flips": list(flips)})
    notes = [note for note in verdict_of(tmp_path, trials=3, spec=spec)["caveats"] if "Easier" in note]
    assert len(notes) == easier
    assert all("'irm-study run mnist'" in note for note in notes)


@pytest.mark.parametrize(
    ("kind", "opening"),
    [({"only": "invariant", "confirm_seeds": 40}, "Stable:"),
     ({"only": "invariant", "confirm_seeds": 8}, "Stable:"),
     ({"only": "invariant", "confirm_seeds": 1}, "Stability not shown:"),
     ({"only": "collapsed"}, "No working configuration found:"),
     ({"only": "diverged"}, "No working configuration found:"),
     ({"confirm_top": 0}, "Not confirmed:"),
     ({"trials": 0, "running": 2, "confirm_top": 0}, "No trial is finished yet:"),
     ({"trials": 0, "confirm_top": 0}, "Nothing has been run yet.")],
)  # fmt: skip
def test_the_verdict_is_no_stronger_than_the_interval(tmp_path, kind, opening):
    assert verdict_of(tmp_path, **kind)["verdict"].startswith(opening)


def test_a_collapsed_winner_is_called_so(tmp_path):
    assert "8 of them ended collapsed" in verdict_of(tmp_path, only="collapsed")["verdict"]


def test_few_fresh_seeds_and_an_unfinished_study_are_said(tmp_path):
    notes = verdict_of(tmp_path, trials=5, confirm_seeds=3)["caveats"]
    assert any("n = 3 is small" in note for note in notes)
    assert any("5 of 12 trials" in note for note in notes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_caption_is_a_sentence(written, kind):
    record, page = written(kind)
    captions = re.findall(r"<figcaption>(.*?) <strong>(.*?)</strong>", page, re.DOTALL)
    assert len(captions) == len(shown(record))
    for sentence in (text for caption in captions for text in caption):
        assert sentence.endswith(".") and not re.search(r"\bnan\b|None|\binf\b", sentence), sentence


# Choices, and what does not apply


def cells_of(page, trial, count):
    """The hyperparameters' cells of a row: (data-sort, text) each."""
    row = re.search(rf'<tr class="trial" data-trial="{trial}".*?</tr>', page, re.DOTALL)[0]
    return re.findall(r'<td class="text" data-sort="([^"]*)" title="[^"]*">(.*?)</td>', row)[:count]


def test_the_table_sorts_choices_in_declared_order_and_numbers_as_numbers(written):
    record, page = written("choices over decades")
    for row in record.trials.to_dict("records"):
        sorts = [float(place) for place, _ in cells_of(page, row["trial"], 3)]
        assert sorts == [entry.index(row[key]) for key, entry in record.spec.search.items()]
    record, page = written("two keys")
    for row in record.trials.to_dict("records"):
        (rate, _), (weight, _) = cells_of(page, row["trial"], 2)
        assert float(rate) == pytest.approx(np.log10(row["learning_rate"]))
        assert float(weight) == pytest.approx(row["l2_weight"])


def test_the_table_has_a_dash_where_a_hyperparameter_does_not_apply(written):
    record, page = written("conditional")
    keys = list(record.spec.search)
    for row in record.trials.to_dict("records"):
        texts = dict(zip(keys, cells_of(page, row["trial"], len(keys)), strict=True))
        assert (texts["ramp_epochs"] == ("", "–")) == (row["ramp"] == "step")
        assert (texts["ramp_exponent"] == ("", "–")) == (row["ramp"] != "power")
        if row["ramp"] == "linear":
            assert texts["ramp_epochs"][1] == str(int(row["ramp_epochs"]))
    assert "does not apply to" in page


def test_the_user_s_axes_of_the_map_are_on_the_page(tmp_path):
    record = study_record(tmp_path)
    write_report(record, failure_map={"x": "learning_rate", "y": "ramp"})
    drawn = (tmp_path / "figures" / "failure_map.svg").read_text()
    assert ">learning rate</text>" in drawn and ">ramp</text>" in drawn and ">exponential</text>" in drawn
    assert ">anneal epoch</text>" not in drawn


# Ties


def test_the_page_and_the_terminal_say_how_a_tie_was_broken(written, capsys):
    record, page = written("tied")
    text = "12 configurations tied on oracle_success at 0.000; ordered by zone_margin"
    first = first_screen(record, configurations(record))
    assert f"Search: {text}." in first["caveats"]
    assert "chosen among 12 configurations" in first["verdict"]
    finer = record.runs[record.runs["stage"] == "search"].groupby("trial")["score_zone_margin"].mean()
    ordered = re.findall(r'<tr class="trial" data-trial="(\d+)"', page)[1:]
    ranking = [str(trial) for trial in finer.sort_values(ascending=False).index]
    assert ordered == [trial for trial in ranking if trial in ordered]
    print_study("a", "oracle_success", summary(record))
    print_status("a", summary(record) | {"budget": 12, "working": None})
    told = capsys.readouterr().out.replace("│", " ")  # a cell's text is wrapped
    assert " ".join(told.split()).count(text) == 2


def test_where_nothing_tells_configurations_apart_none_is_called_the_best(written, capsys):
    record, page = written("all tied")
    first = first_screen(record, configurations(record))
    assert first["verdict"].startswith("Not confirmed: trial 0 is one of 12 that the search cannot tell apart")
    assert "One of 12 tied configurations" in page and "Best configuration" not in page
    sentence = EXHIBITS["search_progress"].describe(record).sentence
    assert sentence == "The best value, 0.000, is that of 12 trials, trial 0 the first of them."
    confirmed = tied_record(record.folder, only="diverged", confirm_top=2)
    said = first_screen(confirmed, configurations(confirmed))["verdict"]
    assert "trial 0, one of 12 configurations that are tied, reached the target zone on none of 8" in said
    print_study("a", "oracle_success", summary(record))
    print_status("a", summary(record) | {"budget": 12, "working": None})
    told = capsys.readouterr().out
    assert "best" not in told and told.count("first of those tied") == 2


# Names


def test_hostile_names_are_printed_and_not_obeyed(written):
    record, page = written("hostile names")
    assert str(Markup.escape(record.spec.name)) in page
    assert "色付き" in page
    assert "<script>alert" not in page and "<img src=x" not in page and "<b>bold</b>" not in page
    assert page.count("<script") == 2 and page.count("</script") == 2
    evidence = [text for trial in data_of(page)["trials"].values() for text in trial["runs"]["evidence"]]
    assert all(text.startswith("</script><img") for text in evidence)


@pytest.mark.parametrize("kind", ["plain", "hostile names", "validation environment", "nothing searched"])
def test_a_copied_configuration_is_a_file_that_train_takes(written, kind, monkeypatch):
    record, page = written(kind)
    for name in record.spec.search.get("ramp", ()):
        monkeypatch.setitem(RAMPS, name, RAMPS.get(name, RAMPS["step"]))  # as a plugin's would be
    data = data_of(page)
    for row in record.trials.to_dict("records"):
        trial = data["trials"][str(row["trial"])]
        spec = TrainSpec.model_validate(tomllib.loads(trial["head"] + data["base"] + trial["tail"]))
        expected = record.spec.configure({key: row[key] for key in record.spec.search})
        assert spec.run == expected
        assert (spec.digits, spec.environments) == (record.spec.digits, record.spec.environments)


# Rows


def test_a_row_opens_every_run_of_its_trial_with_evidence_and_curves(written):
    record, page = written("plain")
    data = data_of(page)
    for trial, runs in record.runs.groupby("trial"):
        fields = data["trials"][str(trial)]["runs"]
        assert set(fields) == set(FIELDS) and {len(values) for values in fields.values()} == {len(runs)}
        for column in ("seed", "stage", "failure_mode", "failure_since", "epochs_trained", "anneal_epoch", "evidence"):
            assert fields[column] == runs[column].tolist()
        for column in ("score", "train_accuracy_min", "test_accuracy", "heldout_accuracy"):
            values = [np.nan if value is None else value for value in fields[column]]
            assert values == pytest.approx(runs[column].tolist(), abs=5e-5, nan_ok=True)
        failed = runs.loc[runs["failure_mode"] != "invariant", "failure_mode"]
        advice = data["trials"][str(trial)]["advice"]
        told = [mode for mode, text in EXPLANATIONS.items() if text in advice]
        assert len(told) == min(1, len(failed))  # one advice for all seeds, of the mode that most of them ended in
        assert all((failed == mode).sum() == failed.value_counts().max() for mode in told)
        curves = zip(*(fields[f"curve_{name}"] for name in ("epoch", "train", "test")), strict=True)
        for (epoch, train, test), measured in zip(curves, runs["curve_accuracy_test"], strict=True):
            assert test[-1] == (None if np.isnan(measured[-1]) else round(1000 * measured[-1]))
            assert len(epoch) == len(train) == len(test) <= 40


def test_the_same_study_gives_the_same_bytes(tmp_path):
    first, second = (study_record(tmp_path / name, trials=1) for name in ("a", "b"))
    for record in (first, second):
        record.folder.mkdir()
        write_report(record)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


def test_writing_again_touches_no_file(tmp_path):
    record = study_record(tmp_path, trials=1)
    write_report(record)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    write_report(record)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


def test_a_page_of_200_trials_with_10_seeds_stays_under_3_megabytes(tmp_path):
    record = study_record(tmp_path, trials=200, seeds=10, confirm_top=5, confirm_seeds=20)
    assert write_report(record).stat().st_size < 3_000_000


def test_a_page_of_10000_runs_is_drawn_without_a_warning_in_a_minute_and_2_gigabytes(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from irm_study import report; from irm_study.bench import peak\n"
        "from tests.synthetic import study_record\n"
        "record = study_record(Path(sys.argv[1]), trials=1000, seeds=10, confirm_top=5, confirm_seeds=20)\n"
        "began = time.process_time(); report.write_report(record)\n"
        "print(time.process_time() - began, peak('cpu'))"  # its own: getrusage tells a parent's peak after an exec
    )
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, memory = map(float, done.stdout.split())
    assert seconds < 60 and memory < 2e9
    always = {name for name, exhibit in EXHIBITS.items() if exhibit.left_out is None}
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} >= always


def test_how_it_was_made_is_on_the_page(written):
    record, page = written("plain")
    assert text_of(page, "command") == record.provenance["command"]
    assert study_digest(record.spec) in page
    study = tomllib.loads(text_of(page, "study-file"))
    assert type(record.spec).model_validate(study) == record.spec
