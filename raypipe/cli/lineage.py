"""``raypipe lineage``: where a model version comes from, and where it answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.json import encode
from rich.text import Text
from rich.tree import Tree

from raypipe.cli.kept import VersionName, kept, require_known, split
from raypipe.cli.output import AsJson, Output, save

if TYPE_CHECKING:
    from raypipe.registry.nodes import Node
    from raypipe.registry.walk import Way

STYLES = {"version": "bold", "trial": "yellow", "training set": "green", "gate": "green", "snapshot": "cyan"}


def lineage(
    version: VersionName,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", show_default=False, help="Draw it as a page that needs no network."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", show_default=False, help="Draw it as a picture.")
    ] = None,
    openlineage: Annotated[
        Path | None,
        typer.Option(
            "--openlineage", metavar="FILE", show_default=False, help="Write it as OpenLineage events, a line each."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell where a version comes from: files, snapshots, gate, training set, trials; and since when it answers."""
    from raypipe.registry import drawing
    from raypipe.registry.openlineage import events
    from raypipe.registry.walk import past, walk

    out = Output(json)
    name, number = split(version)
    with kept() as found:
        require_known(found.registry, name)
        record = found.registry.get(name, number)
        way, at = walk(found.ledger, record), past(found.ledger, record).at
    for file, draw in ((html, drawing.html), (svg, drawing.svg)):
        if file is not None:
            save(file, draw(way))
            out.say(Text.assemble(("✓", "green"), f" {file}"))
    if openlineage is not None:
        told = [encode(event).decode() for event in events(way, record, at)]
        save(openlineage, "".join(f"{line}\n" for line in told))
        out.say(Text.assemble(("✓", "green"), f" {openlineage}: {len(told)} events"))
    if not json and html is None and svg is None and openlineage is None:
        out.say(_tree(way), *(Text(f"The ledger lacks {missing}.", "yellow") for missing in way.missing))
    out.result(way)


def _tree(way: "Way") -> Tree:
    """The version at the root, what led to it below; its search in one line."""
    root = next(node for node in way.nodes if node.kind == "version")
    tree = Tree(_line(root))
    for node in way.after(root.id):
        tree.add(_line(node))
    _grow(tree, way, root)
    return tree


def _grow(tree: Tree, way: "Way", node: "Node") -> None:
    for earlier in way.before(node.id):
        line = _line(earlier)
        if earlier.kind == "trial":
            of = sum(other.kind == "trial" for other in way.nodes)
            line.append(f", chosen of {of}", "dim")
        _grow(tree.add(line), way, earlier)


def _line(node: "Node") -> Text:
    return Text.assemble((node.title, STYLES.get(node.kind, "")), ("  " + node.detail, "dim"))
