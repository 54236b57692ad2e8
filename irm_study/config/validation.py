"""What every table of a file has in common: how it is checked, and how what is wrong with it is worded."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from irm_study.config.kinds import kind_names
from irm_study.config.plugins import load_installed


class EntryErrors(ValueError):
    """What is wrong in a table whose entries have rules of their own: `texts` by key."""

    def __init__(self, texts: Mapping[str, str]):
        self.texts = texts


class Section(BaseModel):
    """A table of a file. The text under a field is its description, for the documentation's tables of keys
    and of the columns of the table of runs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def check_kind(field: str, value: str) -> str:
    """Raise ValueError for a name that none of the field's kind has."""
    load_installed()
    names = kind_names(field)
    if value not in names:
        raise ValueError(f"unknown {field} {value!r}; one of: {', '.join(names)}")
    return value


def problems(error: ValidationError, kind: type[Section]) -> list[tuple[tuple[str, ...], str]]:
    """Where and what, of everything that is wrong: a line each."""
    problems = []
    for each in error.errors():
        key = tuple(str(part) for part in each["loc"])
        value = shown(each.get("input"))
        match each["type"]:
            case "extra_forbidden":
                allowed = _allowed_keys(kind, each["loc"][:-1])
                meant = _meant(key, allowed, kind)
                problems.append((key, f"unknown key, given as {value};{meant} one of: {', '.join(allowed)}"))
            case "missing":
                problems.append((key, "is needed and not given"))
            case "model_type":
                problems.append((key, f"must be a table; got {value}"))
            case "value_error" if isinstance(each["ctx"]["error"], EntryErrors):
                texts = each["ctx"]["error"].texts
                problems += [((*key, entry), text) for entry, text in texts.items()]
            case "value_error":
                problems.append((key, str(each["ctx"]["error"])))
            case _:
                rule = each["msg"].replace("Input should", "must")
                problems.append((key, f"{rule[0].lower()}{rule[1:]}; got {value}"))
    return problems


def shown(value: Any) -> str:
    """A value as a message has it, cut where it is long."""
    if isinstance(value, tuple):
        value = list(value)
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, tables in tables in tables
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else text[:77] + "…"


def file_keys(kind: type[Section]) -> list[str]:
    """Every key of a file of this kind, with its table: run.epochs."""
    keys = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        tables = isinstance(inner, type) and issubclass(inner, Section)
        keys += [f"{name}.{key}" for key in _allowed_keys(kind, (name,))] if tables else [name]
    return keys


def _meant(key: tuple[str, ...], allowed: list[str], kind: type[Section]) -> str:
    """The key that was meant, where one is near: of that name in another table, else spelt nearly so."""
    *tables, last = key
    elsewhere = [each for each in file_keys(kind) if each.rpartition(".")[2] == last]
    near = [".".join((*tables, each)) for each in difflib.get_close_matches(last, allowed, n=1)]
    found = (elsewhere or near)[:1]
    return f" did you mean {found[0]}?" if found else ""


def _allowed_keys(section: Any, location: tuple[Any, ...]) -> list[str]:
    for part in location:
        section = section.model_fields[part].annotation
    return list(section.model_fields)
