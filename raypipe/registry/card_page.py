"""What a model card is made of, and how it is written: as Markdown, or as a page of HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from raypipe.words import as_html

#: What a column of figures holds; a range is one too, and so is what nobody measured.
_NUMBER = re.compile(r"[-–+]?[\d,.]*(?: ?%| to [-–]?[\d,.]+)?")


@dataclass(frozen=True)
class Table:
    """Headings, and rows of as many texts."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Part: TypeAlias = str | Table


@dataclass(frozen=True)
class Section:
    """A heading with sentences and tables."""

    title: str
    parts: tuple[Part, ...]


def markdown(sections: Sequence[Section]) -> str:
    """The card as Markdown."""
    lines: list[str] = []
    for number, section in enumerate(sections):
        lines += [f"{'#' if number == 0 else '##'} {section.title}", ""]
        for part in section.parts:
            lines += [*_markdown(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def html(sections: Sequence[Section]) -> str:
    """The card as one page that needs no other file and no network."""
    body = []
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        body.append(f"<{level}>{escape(section.title)}</{level}>")
        body += [_html(part) for part in section.parts]
    title = escape(f"Model card of {sections[0].title}")
    return _PAGE.format(title=title, body="\n".join(body))


def _markdown(part: Part) -> list[str]:
    if isinstance(part, str):
        return [part]
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in part.rows]
    return [_row(part.head), _row(["---"] * len(part.head)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{as_html(part)}</p>"
    figures = [all(map(_NUMBER.fullmatch, column)) for column in zip(*part.rows, strict=True)] or [False]
    lines = [_line("th", part.head, figures), *(_line("td", row, figures) for row in part.rows)]
    return f"<table>{''.join(lines)}</table>"


def _line(tag: str, cells: Sequence[str], figures: Sequence[bool]) -> str:
    """A row; figures stand below each other at the right."""
    kinds = (' class="n"' if at < len(figures) and figures[at] else "" for at in range(len(cells)))
    return (
        f"<tr>{''.join(f'<{tag}{kind}>{as_html(cell)}</{tag}>' for cell, kind in zip(cells, kinds, strict=True))}</tr>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;color:#0f172a;background:#fff;max-width:70em;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse;margin:.5em 0 1em;display:block;overflow-x:auto}}
th,td{{text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid #e2e8f0;vertical-align:top}}
.n{{text-align:right}}
th{{color:#475569;font-weight:600}}
</style></head><body>
{body}
</body></html>
"""
