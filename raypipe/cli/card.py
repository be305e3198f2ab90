"""``raypipe card``: what a version is, for people who have to answer for it."""

from pathlib import Path
from typing import Annotated

import typer

from raypipe.cli.kept import VersionName, kept, split
from raypipe.cli.output import AsJson, Output, save


def card(
    version: VersionName,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", show_default=False, help="Write it as a page that needs no network."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", show_default=False, help="Write it as Markdown.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Print a version's model card: data, features, search, quality by segment, fairness, limits, decisions.

    Everything in it comes from the ledger and the version's own files; nothing is typed by hand.
    """
    from raypipe.registry.card import card as card_of
    from raypipe.registry.card_page import html as as_html
    from raypipe.registry.card_page import markdown as as_markdown

    out = Output(json)
    name, number = split(version)
    with kept() as found:
        sections = card_of(found.ledger, found.registry.get(name, number))
    for file, write in ((html, as_html), (markdown, as_markdown)):
        if file is not None:
            save(file, write(sections))
            out.say(f"✓ {file}")
    if not json and html is None and markdown is None:
        typer.echo(as_markdown(sections), nl=False)
    out.result(sections)
