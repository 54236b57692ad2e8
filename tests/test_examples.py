"""The examples, run as they stand: a notebook that is kept as text, and a script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """This checkout's package, and no configuration of the user's."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        (tmp_path / "home" / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    (tmp_path / "work").mkdir()


@pytest.mark.filterwarnings("default")  # of Jupyter's own, which change from version to version
def test_the_notebook_goes_from_a_configuration_to_a_figure_in_ten_cells(tmp_path):
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = jupytext.read(EXAMPLES / "first_study.py")
    where = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 1 < len(cells) <= 10
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream"] == []
    assert any("in the target zone on" in output.data.get("text/html", "") for output in outputs)
    assert any("fresh seeds" in output.data.get("text/html", "") for output in outputs)
    assert "image/png" in cells[-1].outputs[-1].data
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["reports"]
    assert (tmp_path / "work" / "reports" / "first-study" / "report.html").is_file()


def test_the_script_trains_and_draws(tmp_path):
    script = [sys.executable, str(EXAMPLES / "train_and_plot.py")]
    done = subprocess.run(script, cwd=tmp_path / "work", env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["seed", "failure_mode", "since", "explanation"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["train_and_plot.png"]
    assert (tmp_path / "work" / "train_and_plot.png").read_bytes().startswith(b"\x89PNG")


def test_precisions_are_compared_over_the_seeds_that_both_have(tmp_path):
    rows = [
        ("float32", 0, "invariant", 0.70, 0.60), ("float32", 1, "near_miss", 0.72, 0.62),
        ("bfloat16", 0, "invariant", 0.71, 0.59), ("bfloat16", 1, "invariant", 0.72, 0.66),
        ("bfloat16", 2, "collapsed", 0.50, 0.50),
    ]  # fmt: skip
    columns = ["precision", "seed", "failure_mode", "train_accuracy", "test_accuracy"]
    (tmp_path / "both").mkdir()
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "both" / "runs.csv", index=False)
    script = [sys.executable, str(EXAMPLES / "compare_precisions.py"), str(tmp_path / "both")]
    done = subprocess.run(script, cwd=tmp_path / "work", env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # Test accuracy: -.01 and +.04; .60 and .62 have a sample standard deviation of .02 / sqrt(2) = .0141.
    assert done.stdout.splitlines()[2] == "both,test_accuracy,2,0.61,0.625,0.015,0.0141,1.0607,0.025,0.04,1"
