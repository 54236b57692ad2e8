"""Installed as people do: built, checked, installed into a clean environment, and run from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def done(*command: object, cwd: Path) -> str:
    """What a command prints; without this checkout on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def files_under(folder: str) -> set[str]:
    """Of this checkout, but for what tools leave there."""
    found = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)) for path in found if not {"__pycache__", "_build"} & set(path.parts)}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The source distribution, and the wheel that is built from it; nothing is fetched."""
    for tool in ("build", "hatchling", "twine"):
        pytest.importorskip(tool)
    out = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return {"sdist": next(out.glob("*.tar.gz")), "wheel": next(out.glob("*.whl"))}


def test_a_build_is_as_an_index_would_take_it(built, tmp_path):
    assert "PASSED" in done(sys.executable, "-m", "twine", "check", "--strict", *built.values(), cwd=tmp_path)


def test_the_wheel_holds_the_package_and_the_shipped_studies_and_the_source_everything(built):
    studies = {path.name for path in (ROOT / "studies").glob("*.toml")}
    with zipfile.ZipFile(built["wheel"]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files_under("irm_study") | {f"irm_study/studies/{name}" for name in studies}
    with tarfile.open(built["sdist"]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"studies/{name}" for name in studies} <= held
    assert (
        files_under("irm_study") | files_under("docs") | files_under("examples") | {"README.md", "pyproject.toml"}
        <= held
    )


def test_the_installed_quickstart_runs_from_an_empty_folder(built, tmp_path):
    """In an environment of its own, which sees the libraries of this one, but not its irm-study: a folder named in a
    .pth file is searched after the environment's own, and its own .pth files are not read."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("".join(f"{path}\n" for path in sorted(libraries)))
    install = ["install", "--quiet", "--no-deps", "--no-index", built["wheel"]]
    done(sys.executable, "-m", "pip", "--python", python, *install, cwd=tmp_path)
    (empty := tmp_path / "empty").mkdir()
    where = done(python, "-c", "import irm_study; print(irm_study.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(site)
    few = ["--trials=2", "--seeds=1", "--jobs=1", "--set=run.hidden=4", "--set=confirm.top=1", "--set=confirm.seeds=1"]
    said = done(site.parents[2] / "bin" / "irm-study", "run", "--quiet", *few, cwd=empty)
    assert "page: reports/quickstart/report.html" in said
    assert [path.name for path in empty.iterdir()] == ["reports"]
    assert (empty / "reports" / "quickstart" / "report.html").stat().st_size > 100_000
