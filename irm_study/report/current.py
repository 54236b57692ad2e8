"""Whether a study's page shows what its tables hold."""

from __future__ import annotations

from pathlib import Path


def page_is_current(folder: Path) -> bool:
    """Whether the page is there, and no older than the tables that it is made from."""
    page = folder / "report.html"
    tables = [path for name in ("summary.json", "runs.csv", "ideal.csv") if (path := folder / name).exists()]
    return page.exists() and page.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in tables)
