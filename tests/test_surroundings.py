"""The same page whatever surrounds the process: settings of matplotlib, seaborn, numpy and pandas, locale, environment.
And what the end of a study needs is tried before its first run is trained."""

from __future__ import annotations

import dataclasses
import io
import locale
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections import namedtuple
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import seaborn as sns

from irm_study import api, cli, figures
from irm_study.errors import ConfigError, ExecutionError
from irm_study.report import check_drawing, style, write_report
from irm_study.results import load_study, write_tables
from irm_study.study import Settings, run_study
from tests.servers import HERE
from tests.synthetic import stored, study_record
from tests.test_study import Silent, few_digits, small, stored_rows

OF_A_NOTEBOOK = "-of-a-notebook"
DRAWN = ("seed_stability", "failure_shares", "search_progress", "importance")
"""Figures with what differs most: marks, hatches, curves and seaborn's bars."""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("surroundings") / "study"
    return stored(study_record(folder, trials=4, confirm_seeds=4))


def everything(study: Path, out: Path) -> dict[str, bytes]:
    """Page, tables and figures of a study, and figures as a notebook saves them."""
    out.mkdir()
    record = dataclasses.replace(load_study(study), folder=out)
    write_tables(record)
    write_report(record)
    for name in DRAWN:
        getattr(figures, name)(record).savefig(
            file := io.BytesIO(), format="png", dpi=60, bbox_inches=None, pad_inches=0
        )
        (out / f"{name}{OF_A_NOTEBOOK}.png").write_bytes(file.getvalue())
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def plain(study, tmp_path_factory) -> dict[str, bytes]:
    return everything(study, tmp_path_factory.mktemp("plain") / "out")


LOOKS = {
    "font.size": 20, "font.family": "serif", "font.sans-serif": ["DejaVu Serif"], "axes.facecolor": "black",
    "lines.marker": "x", "scatter.marker": "*", "axes.formatter.use_locale": True, "path.sketch": (1, 100, 2),
    "figure.autolayout": True, "figure.dpi": 300, "path.simplify_threshold": 1.0, "text.hinting": "none",
    "mathtext.fontset": "cm", "hatch.linewidth": 5, "text.antialiased": False, "text.usetex": True,
    "agg.path.chunksize": 100,
}  # fmt: skip
SAVING = {"savefig.bbox": "tight", "savefig.pad_inches": 1, "savefig.dpi": 30, "svg.fonttype": "path", "svg.id": "mine"}


def decimal_comma(patch: pytest.MonkeyPatch) -> None:
    """As after locale.setlocale(locale.LC_ALL, "de_DE"), which machines need not have."""
    told = locale.localeconv() | {"decimal_point": ",", "thousands_sep": ".", "grouping": [3, 0]}
    patch.setattr(locale, "localeconv", lambda: told)
    matplotlib.rcParams["axes.formatter.use_locale"] = True


def a_theme(patch: pytest.MonkeyPatch) -> None:
    matplotlib.style.use("dark_background")
    sns.set_theme("poster", "darkgrid", "husl", font="serif")


def strict_and_terse(patch: pytest.MonkeyPatch) -> None:
    warnings.simplefilter("error")
    np.seterr(all="raise")
    pd.set_option("display.precision", 1, "display.float_format", "{:.1f}".format, "mode.string_storage", "python")


NOTEBOOKS = {
    "matplotlib's looks": lambda patch: matplotlib.rcParams.update(LOOKS),
    "matplotlib's way to save": lambda patch: matplotlib.rcParams.update(SAVING),
    "a theme": a_theme,
    "numpy prints as it once did": lambda patch: np.set_printoptions(legacy="1.13", precision=2),
    "strict and terse": strict_and_terse,
    "another locale": decimal_comma,
}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_page_and_its_figures_are_the_same_bytes_in_any_notebook(study, plain, tmp_path, monkeypatch, notebook):
    printed, errors = np.get_printoptions(), np.geterr()
    options = ("display.precision", "display.float_format", "mode.string_storage")
    kept = {option: pd.get_option(option) for option in options}
    with matplotlib.rc_context(), warnings.catch_warnings():
        try:
            NOTEBOOKS[notebook](monkeypatch)
            before = dict(matplotlib.rcParams), np.get_printoptions()
            made = everything(study, tmp_path / "out")
            assert (dict(matplotlib.rcParams), np.get_printoptions()) == before
        finally:
            np.set_printoptions(**printed)
            np.seterr(**errors)
            for option, value in kept.items():
                pd.set_option(option, value)
    own = [name for name in plain if OF_A_NOTEBOOK in name and notebook == "matplotlib's way to save"]
    assert [name for name in plain if made.get(name) != plain[name] and name not in own] == []


def test_how_a_notebook_saves_a_figure_is_its_own_choice(study):
    def svg() -> str:
        figures.importance(study).savefig(file := io.StringIO(), format="svg")
        return file.getvalue()

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert "<text" in svg()
    with matplotlib.rc_context({"svg.fonttype": "path"}):
        assert "<text" not in svg()


# The command line


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    """What `report` writes: (surroundings) → the bytes of every file. A function that a process runs makes them."""

    def under(environment=(), matplotlibrc: bytes | None = None, umask: int = 0o022) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp("report")
        if matplotlibrc is not None:
            (folder / "matplotlibrc").write_bytes(matplotlibrc)
        inherited = {name: text for name, text in os.environ.items() if name != "MPLBACKEND"}
        ended = subprocess.run(
            [sys.executable, "-m", "irm_study", "report", study, "--out", "out"], cwd=folder, umask=umask,
            env=inherited | {"PYTHONPATH": str(HERE)} | dict(environment), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        out = folder / "out"
        assert stat.S_IMODE((out / "report.html").stat().st_mode) == 0o666 & ~umask
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    return under


COMMAND_LINES = {
    "a notebook's backend": {"environment": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}},
    "a backend that is not here, settings with wrong values": {
        "environment": {"MPLBACKEND": "module://not.installed"},
        "matplotlibrc": b"font.size: many\nno such key: 1\nnonsense\n",
    },
    "a backend without a display, settings with TeX": {
        "environment": {"MPLBACKEND": "tkagg", "DISPLAY": ""},
        "matplotlibrc": b"text.usetex: True\nbackend: tkagg\nsavefig.bbox: tight\nfont.family: serif\n",
    },
    "no backend's name, settings that are no text": {
        "environment": {"MPLBACKEND": "nonsense"},
        "matplotlibrc": b"\xff\xfe\x00",
    },
    "a narrow shell without a home": {
        "environment": {
            "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "1", "NO_COLOR": "1",
            "HOME": "/nowhere", "MPLCONFIGDIR": "/proc/nowhere", "TMPDIR": "/nowhere",
        },
        "umask": 0o077,
    },
    "a strict interpreter, far away": {
        "environment": {
            "PYTHONWARNINGS": "error", "PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "PYTHONOPTIMIZE": "2",
        },
        "umask": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("surroundings", COMMAND_LINES)
def test_report_writes_the_same_bytes_in_any_surroundings(plain, page, surroundings):
    written = page(**COMMAND_LINES[surroundings])
    expected = {name: content for name, content in plain.items() if OF_A_NOTEBOOK not in name}
    assert [name for name in expected if written.get(name) != expected[name]] == []


@pytest.mark.parametrize("backend", ["nonsense", "module://not.installed"])
def test_a_notebook_s_bad_backend_is_no_matter_and_a_good_one_stays(study, tmp_path, backend):
    """In Python, where matplotlib is the user's too."""
    code = (
        "import sys; from irm_study import figures; figures.importance(sys.argv[1]).savefig('figure.png');"
        "import matplotlib; print(matplotlib.get_backend(auto_select=False))"
    )
    for given, chosen in ((backend, None), ("svg", "svg")):
        environment = os.environ | {"PYTHONPATH": str(HERE), "MPLBACKEND": given}
        command = [sys.executable, "-c", code, str(study)]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        assert (tmp_path / "figure.png").is_file()
        assert chosen is None or ended.stdout.strip() == chosen


# Tried before anything is trained

STUDY = """
name = "tiny"
[run]
hidden = 4
epochs = 3
anneal_epoch = 1
[search]
ramp = ["step", "linear"]
[study]
trials = 2
seeds = 1
[confirm]
top = 1
seeds = 1
"""


@pytest.fixture
def irm(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(STUDY)

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["irm-study", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().err

    return command


def break_fonts(monkeypatch) -> None:
    def broken(*arguments, **keywords):
        raise OSError("no font can be read")

    monkeypatch.setattr("matplotlib.font_manager.FontManager.findfont", broken)
    monkeypatch.setattr("matplotlib.font_manager.FontManager._find_fonts_by_props", broken)


def test_what_draws_is_tried_before_a_run_is_trained(irm, monkeypatch, tmp_path):
    check_drawing()
    assert irm("run", "tiny.toml", "--jobs", 1, "--out", "whole", "--quiet")[0] == 0
    rows = len(stored_rows(tmp_path / "whole"))
    break_fonts(monkeypatch)
    with pytest.raises(ExecutionError, match=r"figures cannot be drawn here: .*no font can be read"):
        check_drawing()
    for command in (["run", "tiny.toml", "--jobs", 1, "--out", "out"], ["confirm", "whole", "--seeds", 9],
                    ["calibrate", "--out", "out"]):  # fmt: skip
        status, said = irm(*command)
        assert (status, len(said.splitlines())) == (1, 1)
        assert "figures cannot be drawn here" in said
    with pytest.raises(ExecutionError, match="figures cannot be drawn here"):
        api.run_study("tiny.toml", "out")
    with pytest.raises(ExecutionError, match="figures cannot be drawn here"):
        api.confirm_study("whole", seeds=9)
    assert not (tmp_path / "out").exists()
    assert len(stored_rows(tmp_path / "whole")) == rows


@pytest.mark.parametrize("free, needed", [(0, True), (31 * 2**20, True), (33 * 2**20, False)])
def test_room_on_the_disk_is_tried_before_a_run_is_trained(monkeypatch, tmp_path, free, needed):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(2**40, 0, free))
    if needed:
        with pytest.raises(ExecutionError, match=f"only {free // 2**20} MiB are free on its disk.*make room, and run"):
            run_study(small(2), tmp_path, Settings(), Silent())
        assert stored_rows(tmp_path).empty
    monkeypatch.undo()
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    assert run_study(small(2), tmp_path, Settings(), Silent())[1] == 2 * 2 + 2
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(2**40, 0, 0))
    assert run_study(small(2), tmp_path, Settings(), Silent())[1] == 0  # nothing was left that needs room


@pytest.mark.parametrize("name", ["figures", "runs", "report.html", "runs.csv", "summary.json", "best.toml"])
def test_what_lies_in_the_place_of_a_result_is_told_before_a_run_is_trained(monkeypatch, tmp_path, name):
    monkeypatch.setattr("irm_study.data.load_digits", few_digits)
    with pytest.raises(ConfigError, match=name):
        (tmp_path / name).touch() if name in ("figures", "runs") else (tmp_path / name).mkdir()
        run_study(small(2), tmp_path, Settings(), Silent())
    assert not (tmp_path / "runs").is_dir()


def test_a_real_disk_without_room_is_told_before_a_run_is_trained(tmp_path):
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=4m tmpfs out"
    (tmp_path / "out").mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, mount], cwd=tmp_path, capture_output=True).returncode
    ):
        pytest.skip("needs a mount namespace of its own (unshare)")
    (tmp_path / "tiny.toml").write_text(STUDY)
    command = [
        *inside,
        f'{mount} && "$0" -m irm_study run tiny.toml --jobs 1 --out out --quiet; ls out',
        sys.executable,
    ]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "irm-study: out: only 4 MiB are free on its disk" in ended.stderr
    assert "runs" not in ended.stdout.split()


def test_the_style_s_own_settings_are_taken_back(monkeypatch):
    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError), style.own_settings({"font.size": 3}):
        assert matplotlib.rcParams["font.size"] == 3
        1 / 0  # noqa: B018
    assert dict(matplotlib.rcParams) == before
