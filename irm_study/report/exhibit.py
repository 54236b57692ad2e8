"""What an exhibit is: a figure that stands together with its table and its sentence.

The exhibits themselves are in the files of the page's sections (`sections` lists them in order). Adding one is
writing a block in one of those files: a function that makes the tables, one that concludes from them in a sentence, one
that draws them, and the `Exhibit` that names the three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure

Source = TypeVar("Source")


@dataclass(frozen=True)
class Exhibit(Generic[Source]):
    """A figure with its table and its sentence, all made from one source: a `StudyRecord`, or what is compared."""

    name: str
    """Of its files (`figures/NAME.svg`), of its place in the page, and of its function in `figures`."""
    title: str
    shows: str | Callable[[Source], str]
    """What the figure shows, in a sentence or two; a function where the source changes the text."""
    table: Callable[..., tuple[Any, ...]]
    """source → the tidy tables (and other numbers) that `sentence` and `draw` take, in this order. What else it takes,
    by keyword and with a default, is a choice of the user's."""
    sentence: Callable[..., str]
    """*tables → what follows from the numbers."""
    draw: Callable[..., Figure]
    """*tables → the figure."""
    narrow: bool = False
    """Whether it is drawn for one column of a page of two."""
    left_out: Callable[..., bool] | None = None
    """*tables → whether the page leaves it out; None: never, and an empty figure says why it is empty."""
    csv: str | None = None
    """Name of the file in the study's folder that the first table is written to, without its ending."""

    def figure(self, source: Source, **options: Any) -> Figure:
        """The figure of a source, whether or not the page would leave it out. options: as `table` takes them."""
        return self.draw(*self.table(source, **options))

    def describe(self, source: Source, **options: Any) -> Description:
        """What the page needs: texts and tables, and the figure when it is asked for."""
        tables = self.table(source, **options)
        shows = self.shows if isinstance(self.shows, str) else self.shows(source)
        left_out = self.left_out is not None and self.left_out(*tables)
        return Description(self, tables, shows, "" if left_out else self.sentence(*tables), left_out)


@dataclass(frozen=True)
class Description:
    """An exhibit of one source: its tables, and the texts that stand beside the figure."""

    exhibit: Exhibit[Any]
    tables: tuple[Any, ...]
    shows: str
    sentence: str
    left_out: bool

    @property
    def name(self) -> str:
        return self.exhibit.name

    @property
    def title(self) -> str:
        return self.exhibit.title

    @property
    def narrow(self) -> bool:
        return self.exhibit.narrow

    def figure(self) -> Figure:
        return self.exhibit.draw(*self.tables)


def empty(table: Any, *_: Any) -> bool:
    """For `Exhibit.left_out`: whether the first table has no rows."""
    return len(table) == 0
