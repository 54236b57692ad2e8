"""Plugins: files of Python by which users add kinds of their own, such as a penalty or a ramp.

A plugin is named on the command line, from Python, or by an installed package (entry point `irm_study.plugins`): never
by a study file or a study's folder, which may come from strangers. Its text travels with each batch of runs to the
worker, its digest is part of the digests of what uses it, and the text is kept in the study's folder as data. What a
plugin may register, and how, is in `irm_study.plugin`; the dictionaries that it adds to are found by `kinds`.
"""

from __future__ import annotations

import hashlib
import linecache
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from irm_study.config.kinds import kind_dictionary
from irm_study.errors import ConfigError
from irm_study.files import write_text

GROUP = "irm_study.plugins"
"""The entry points of installed packages that are plugins."""
FOLDER = "plugins"
"""In a study's folder: the texts of those that its configurations use."""
MAX_BYTES = 2**20


@dataclass(frozen=True)
class Plugin:
    """name: its file's, without the ending. where: the file, as messages name it; its text is run under this name."""

    name: str
    text: str
    where: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


_loaded: dict[str, Plugin] = {}
"""By name."""
_owners: dict[tuple[str, str], Plugin] = {}
"""Which plugin registered a kind: by the key of a study file, and the kind's name."""
_loading: list[Plugin] = []
"""The one that is being run, if any."""
_looked_for_installed: list[bool] = []


def load_plugin(path: str | Path) -> None:
    """Run a file that registers kinds. Raises ConfigError, with file and line, for what is wrong with it."""
    load_installed()
    _load(read_plugin(Path(path)))


def load_installed() -> None:
    """Run the plugins of installed packages; once. Raises ConfigError as `load_plugin`."""
    if _looked_for_installed:
        return
    _looked_for_installed.append(True)
    points: Iterable[EntryPoint] = entry_points(group=GROUP)
    for point in points:
        found = find_spec(point.module)
        if found is None or found.origin is None:
            raise ConfigError(f"entry point {point.name} of {GROUP}: there is no module {point.module}")
        _load(Plugin(point.name, Path(found.origin).read_text(encoding="utf-8"), found.origin))


def loaded_plugins() -> tuple[Plugin, ...]:
    """All that are loaded, for a worker to load as well."""
    return tuple(_loaded.values())


def have_loaded(plugins: Sequence[Plugin]) -> None:
    """In a worker: load these, whose texts came from the driver, and no others; earlier texts are replaced."""
    _looked_for_installed.append(True)
    for plugin in [each for each in _loaded.values() if each.text not in {given.text for given in plugins}]:
        _unload(plugin)
    for plugin in plugins:
        _load(plugin)


def read_plugin(path: Path) -> Plugin:
    """A plugin's file. Raises ConfigError where it is none."""
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ConfigError(
            f"--plugin {path}: needs a file of Python, whose name is letters, digits and _, as my_penalty.py"
        )
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"--plugin {path}: larger than {MAX_BYTES // 2**20} MiB")
        return Plugin(path.stem, data.decode("utf-8").replace("\r\n", "\n"), str(path))
    except OSError as error:
        raise ConfigError(f"--plugin {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--plugin {path}: is no text (byte {error.start} is not UTF-8)") from None


def register(key: str, name: str, value: Any) -> None:
    """Add a kind, for the plugin that is being loaded. key: of a study file, as `kinds.DICTIONARIES` has it.

    Raises ConfigError for a name that is taken or cannot be one, and outside of a plugin.
    """
    if not _loading:
        raise ConfigError(
            f"plugin: {key} {name!r} is registered by no plugin: put it into a file, for --plugin FILE.py, or from "
            'Python for plugin.load("FILE.py"); worker processes are sent that file'
        )
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w{0,99}", name):
        raise ConfigError(f"{key} {name!r}: a name is letters, digits and _, and begins with a letter")
    kinds = kind_dictionary(key)
    if name in kinds:
        owner = _owners.get((key, name))
        raise ConfigError(f"{key} {name!r} is taken already, by {owner.where if owner else 'irm-study itself'}")
    kinds[name] = value
    _owners[key, name] = _loading[-1]


def plugins_used(kinds: Iterable[tuple[str, Any]]) -> dict[str, Plugin]:
    """Of kinds, given as key and name, those that are a plugin's: `key name` → plugin."""
    return {f"{key} {name}": _owners[key, name] for key, name in kinds if (key, name) in _owners}


def place_in_plugin(error: BaseException) -> str | None:
    """`FILE, line N` where a plugin's code raised an error, or called what did; None where none had a part in it."""
    files = {plugin.where for plugin in (*_loaded.values(), *_loading)}
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{lines[-1].filename}, line {lines[-1].lineno}" if lines else None


# In a study's folder


def record_plugins(folder: Path, plugins: Iterable[Plugin]) -> None:
    """Keep the texts of plugins in a study's folder."""
    for plugin in plugins:
        (folder / FOLDER).mkdir(exist_ok=True)
        write_text(folder / FOLDER / f"{plugin.name}.py", plugin.text)


def check_plugins(folder: Path) -> None:
    """Raise ConfigError where a folder's runs were trained with a plugin that is not loaded, or is another by now.

    The texts that it keeps are compared, and never run.
    """
    load_installed()
    for path in sorted((folder / FOLDER).glob("*.py")):
        plugin = _loaded.get(path.stem)
        if plugin is None:
            raise ConfigError(
                f"{folder}: was made with the plugin {path.name}, which is not given: name it by --plugin, or from "
                f"Python by plugin.load (its text is kept as {path}; read it first: a folder's is never run by itself)"
            )
        if path.is_symlink() or path.stat().st_size > MAX_BYTES or path.read_bytes() != plugin.text.encode():
            raise ConfigError(
                f"{folder}: was made with another text of the plugin {path.name} than {plugin.where} has now, and runs "
                f"of both are never mixed: name a new folder with --out, or the earlier text with --plugin {path}"
            )


# Running a plugin's text


def _load(plugin: Plugin) -> None:
    known = _loaded.get(plugin.name)
    if known is not None:
        if known.text == plugin.text:
            return
        raise ConfigError(
            f"--plugin {plugin.where}: another plugin has this name, {known.where}: rename one of the files"
        )
    module = ModuleType(f"irm_study_plugin_{plugin.name}")
    module.__file__ = plugin.where
    sys.modules[module.__name__] = module  # where dataclasses and the like look their module up
    linecache.cache[plugin.where] = (len(plugin.text), None, plugin.text.splitlines(True), plugin.where)
    _loading.append(plugin)
    try:
        exec(compile(plugin.text, plugin.where, "exec"), module.__dict__)
    except Exception as error:
        place = place_in_plugin(error) or plugin.where
        _unload(plugin)
        if isinstance(error, SyntaxError):
            raise ConfigError(f"{plugin.where}, line {error.lineno}: {error.msg}") from None
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        raise ConfigError(f"{place}: {kind}{error}") from None
    finally:
        _loading.pop()
    _loaded[plugin.name] = plugin


def _unload(plugin: Plugin) -> None:
    """Take back what a plugin registered."""
    for key, name in [kind for kind, owner in _owners.items() if owner == plugin]:
        del kind_dictionary(key)[name]
        del _owners[key, name]
    _loaded.pop(plugin.name, None)
    sys.modules.pop(f"irm_study_plugin_{plugin.name}", None)
