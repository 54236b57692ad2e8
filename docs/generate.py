"""Writes the documentation's tables that follow from the code: `python docs/generate.py`.

A page holds each between `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is replaced. A test
(`tests/test_docs.py`) says when a page is older than the code.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer

from irm_study.cli.app import app
from irm_study.config import EnvironmentSpec, RunConfig, StudySpec, shipped_files
from irm_study.config.kinds import DICTIONARIES, kind, kind_names
from irm_study.config.run import Target
from irm_study.config.shipped import KINDS
from irm_study.config.study import ConfirmSection, StudySection
from irm_study.config.validation import Section
from irm_study.diagnosis import FAILURE_MODES
from irm_study.diagnosis.advice import ADVICE, MEANINGS
from irm_study.report import SECTIONS
from irm_study.results import columns_markdown

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
TABLES: dict[str, type[Section]] = {
    "environments": EnvironmentSpec,
    "run": RunConfig,
    "target": Target,
    "study": StudySection,
    "confirm": ConfirmSection,
}
"""The tables of a study file whose keys are fields; [search] takes the keys of [run]."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def keys() -> str:
    """Every key of a study file: its default, its meaning, and the names that it takes."""
    top = {name: field for name, field in StudySpec.model_fields.items() if name in ("name", "digits")}
    parts = [table(("key", "default", "meaning"), _rows(top))]
    for name, section in TABLES.items():
        parts.append(f"### `[{name}]`\n\n" + table(("key", "default", "meaning"), _rows(section.model_fields)))
    return "\n".join(parts)


def kinds() -> str:
    """What comes in kinds: a table for each key of a study file that takes their names."""
    described = [key for key in DICTIONARIES if key not in ("mode", "activation")]
    return "\n".join(
        f"### `{key}`\n\n"
        + table(("name", "meaning"), [(f"`{name}`", _meaning(key, name)) for name in kind_names(key)])
        for key in described
    )


def modes() -> str:
    held = {mode: each for mode, each in ADVICE.items() if each.holds}
    advice = {
        mode: f"{each.change.text[0].upper()}{each.change.text[1:]} (helped {each.helped} of {each.of})."
        for mode, each in held.items()
    }
    rows = [(f"`{mode}`", f"{MEANINGS[mode]}.", advice.get(mode, "")) for mode in FAILURE_MODES]
    return table(("mode", "what happened", "what the page advises"), rows)


def commands() -> str:
    """Each command: what it does, and its arguments and options."""
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    head = table(
        ("command", ""), [(f"[`irm-study {name}`](#irm-study-{name})", each.help) for name, each in found.items()]
    )
    parts = [head]
    for name, each in found.items():
        rows = [
            (_signature(parameter), _default_of(parameter), parameter.help.replace(r"\[", "["))
            for parameter in each.params
        ]
        parts.append(
            f"(irm-study-{name})=\n### `irm-study {name}`\n\n{each.help}\n\n" + table(("", "default", ""), rows)
        )
    return "\n".join(parts)


def columns() -> str:
    return columns_markdown()


def figures() -> str:
    rows = [(section, f"`{exhibit.name}`", exhibit.title) for section, all_of in SECTIONS.items() for exhibit in all_of]
    return table(("section of the page", "name", "title"), rows)


def shipped() -> str:
    """The files that come with the package: the command that takes each, and the comment at its head."""
    rows = []
    for command in KINDS:
        for name, path in shipped_files(command).items():
            comment = path.read_text(encoding="utf-8").partition("\nname")[0].splitlines()
            meaning = " ".join(line.removeprefix("#").strip() for line in comment)
            rows.append((f"`irm-study {command} {name}`", meaning))
    return table(("command", "what it is"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (keys, kinds, modes, commands, columns, figures, shipped)
}


def renewed(page: str) -> str:
    """A page's text with every generated table as the code has it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}", page)


def _cell(text: str) -> str:
    """As a table's cell takes it; what stands in angle brackets is no HTML."""
    return text.replace("|", r"\|").replace("<", r"\<")


def _rows(fields: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(f"`{name}`", _default(field), _described(name, field)) for name, field in fields.items()]


def _described(key: str, field: Any) -> str:
    """The description of a field, with the names that its key takes."""
    meaning = " ".join((field.description or "").split())
    names = kind_names(key) if key in DICTIONARIES else _choices(field.annotation)
    allowed = ", ".join(f"`{_toml(name)}`" if not isinstance(name, str) else f"`{name}`" for name in names)
    return f"{meaning} One of: {allowed}." if allowed else meaning


def _choices(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return [choice for each in get_args(annotation) for choice in _choices(each)]
    return ()


def _default(field: Any) -> str:
    if field.is_required() or field.default is None or field.default == ():
        return ""
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _meaning(key: str, name: str) -> str:
    """The first paragraph of what a kind says of itself."""
    entry = kind(key, name)
    functions = [value for value in vars(entry).values() if callable(value)]
    text = getattr(entry, "meaning", None) or next(filter(None, (each.__doc__ for each in reversed(functions))))
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _signature(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}{' …' if parameter.nargs == -1 else ''}`"
    value = f" {parameter.metavar}" if parameter.metavar else ""
    return " / ".join(f"`{option}{value}`" for option in (*parameter.opts, *parameter.secondary_opts))


def _default_of(parameter: Any) -> str:
    given = parameter.default
    return f"`{given}`" if given is not None and not isinstance(given, bool) and given != [] else ""


def main() -> None:
    for page in sorted(DOCS.rglob("*.md")):
        old = page.read_text(encoding="utf-8")
        if (new := renewed(old)) != old:
            page.write_text(new, encoding="utf-8")
            print(page.relative_to(DOCS))


if __name__ == "__main__":
    main()
