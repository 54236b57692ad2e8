"""Matplotlib imported, whatever is wrong with the user's settings of it; it is imported by this module first.

What the settings say of looks is `style`'s business, which draws under none of them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from irm_study.errors import ExecutionError


def import_matplotlib() -> None:
    """Import matplotlib under the user's settings, or, where these cannot be read, under its own.

    Settings that end the import: an unknown MPLBACKEND, a matplotlibrc that is no text. Raises ExecutionError where it
    cannot be imported at all, as without any folder that can be written for its list of fonts.
    """
    try:
        import_module("matplotlib")
    except Exception:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # what was imported before the settings were read
        try:
            with _own_settings():
                import_module("matplotlib")
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ExecutionError(f"figures cannot be drawn here, matplotlib is not imported: {reason}") from error


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Within the folder of matplotlib's own matplotlibrc, which comes before every other, and without a backend."""
    spec = importlib.util.find_spec("matplotlib")
    package = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path.cwd()
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        with contextlib.chdir(package / "mpl-data"):
            yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


import_matplotlib()
