"""Rows for people: a table where it fits; in a narrower terminal, what does not fit stands whole below its row."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

#: Narrower than this a column of words is a stack of syllables; what is longer has a line of its own below its row.
LEAST = 24
_GAP, _EDGES = 2, 2


class Rows:
    """A table whose cells are never cut, but for those that ask for it themselves (`Text.no_wrap`).

    Args:
        headings: of the columns, in order.
        first: those that stand on a row's own line where not all fit, as many of them as do, at least one.
        folds: those whose cells may take several lines.
        right: those of numbers.

    >>> rows = Rows(("id", "said"), first=("id",), folds=("said",))
    >>> rows.add("a1b2", "all the words that there are about this one")
    >>> Console(width=30).print(rows)
    id
    a1b2
      said: all the words that
      there are about this one
    """

    def __init__(
        self, headings: Sequence[str], *, first: Sequence[str], folds: Sequence[str] = (), right: Sequence[str] = ()
    ) -> None:
        self._headings, self._folds, self._right = tuple(headings), frozenset(folds), frozenset(right)
        self._first = tuple(one for one in first if one in self._headings)
        self._rows: list[tuple[dict[str, Text], str]] = []

    def add(self, *cells: str | Text, style: str = "") -> None:
        """One more row."""
        texts = (cell if isinstance(cell, Text) else Text(cell) for cell in cells)
        self._rows.append((dict(zip(self._headings, texts, strict=True)), style))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as the table; how narrow it may be is up to the terminal."""
        return Measurement(1, Measurement.get(console, options, self._table()).maximum)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or each row with what is below it."""
        widths = {heading: self._width(heading) for heading in self._headings}
        least = (min(width, LEAST) if heading in self._folds else width for heading, width in widths.items())
        if _line_width(list(least)) + _EDGES <= options.max_width:
            yield self._table()
            return
        first = list(self._first)
        while len(first) > 1 and _line_width([widths[heading] for heading in first]) > options.max_width:
            first.pop()
        yield self._line({heading: Text(heading, "bold") for heading in first}, widths)
        for cells, style in self._rows:
            line = self._line({heading: cells[heading] for heading in first}, widths)
            line.style = style
            yield line
            for below in _below({heading: cell for heading, cell in cells.items() if heading not in first}):
                yield Padding(below, (0, 0, 0, 2), expand=False)

    def _width(self, heading: str) -> int:
        return max(Text(heading).cell_len, *(cells[heading].cell_len for cells, _ in self._rows), 0)

    def _line(self, cells: dict[str, Text], widths: dict[str, int]) -> Text:
        line = Text(overflow="fold")
        for heading, cell in cells.items():
            room = Text(" " * (widths[heading] - cell.cell_len))
            line.append_text(room + cell if heading in self._right else cell + room).append(" " * _GAP)
        line.rstrip()
        return line

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in self._headings:
            justify = "right" if heading in self._right else "left"
            table.add_column(heading, justify=justify, no_wrap=heading not in self._folds, overflow="fold")  # type: ignore[arg-type]  # a literal
        for cells, style in self._rows:
            table.add_row(*cells.values(), style=style)
        return table


def _line_width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _below(cells: dict[str, Text]) -> Iterator[Text]:
    """What has no place on a row's own line, each by its name: the long ones first, then the short ones together."""
    named = [
        (_named(heading, cell), cell.cell_len > LEAST or bool(cell.no_wrap))
        for heading, cell in cells.items()
        if cell.plain
    ]
    yield from (text for text, long in named if long)
    if short := [text for text, long in named if not long]:
        yield Text("; ").join(short)


def _named(heading: str, cell: Text) -> Text:
    name = heading.partition(",")[0]
    return Text.assemble((f"{name}: ", "dim"), cell, no_wrap=cell.no_wrap, overflow=cell.overflow)
