"""A model's way as a picture: one SVG, or one page of HTML around it, that needs no other file and no network."""

from html import escape

from raypipe.registry.nodes import KINDS, Node
from raypipe.registry.walk import Way

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, HEAD = 240, 46, 56, 12, 16, 30
#: A line holds so many characters of its font.
TITLE, DETAIL = 28, 36
#: A search may have hundreds of trials: more than this many that led to nothing are drawn as one.
MOST = 8
COLOURS = {
    "file": "#64748b",
    "snapshot": "#0e7490",
    "gate": "#15803d",
    "training set": "#4d7c0f",
    "trial": "#b45309",
    "version": "#7c3aed",
    "deployment": "#be185d",
}
_STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#0f172a}.h{font-size:12px;fill:#64748b}"
    ".t{font-size:13px;font-weight:600}.d{font-size:10.5px;fill:#475569}"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body{{font:14px/1.5 system-ui,sans-serif;color:#0f172a;background:#fff;margin:24px}}
.way{{overflow-x:auto}}summary{{cursor:pointer}}td{{padding:0 16px 0 0;vertical-align:top;overflow-wrap:anywhere}}
td:first-child{{color:#475569;white-space:nowrap}}
</style></head><body><h1>{title}</h1><div class="way">{svg}</div>{notes}<h2>What is known</h2>{facts}</body></html>
"""


def svg(way: Way) -> str:
    """The way from left to right, a column a kind; hovering shows what is known of a thing."""
    way = _gathered(way)
    columns = [found for kind in KINDS if (found := [node for node in way.nodes if node.kind == kind])]
    rows = max(len(column) for column in columns)
    height = 2 * MARGIN + HEAD + rows * (HEIGHT + GAP_Y) - GAP_Y
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - GAP_X
    places = {
        node.id: (MARGIN + c * (WIDTH + GAP_X), _top(r, len(column), rows))
        for c, column in enumerate(columns)
        for r, node in enumerate(column)
    }
    heads = [_head(column[0], c) for c, column in enumerate(columns)]
    lines = [_line(places[first], places[second]) for first, second in way.edges if {first, second} <= places.keys()]
    boxes = [_box(node, places[node.id]) for column in columns for node in column]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    label = escape(f"The way of {way.version}", quote=True)
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}"><style>{_STYLE}</style>'
    return "\n".join([start, '<rect width="100%" height="100%" fill="#fff"/>', *heads, *lines, *boxes, "</svg>\n"])


def html(way: Way) -> str:
    """The same as a page, with everything that is known of each thing below."""
    notes = "".join(f"<p>The ledger lacks {escape(missing)}.</p>" for missing in way.missing)
    facts = "".join(_facts(node) for node in reversed(way.nodes))
    return _PAGE.format(title=escape(f"Where {way.version} comes from"), svg=svg(way), notes=notes, facts=facts)


def _gathered(way: Way) -> Way:
    """The same way with the trials that were not chosen as one."""
    idle = [node for node in way.nodes if node.kind == "trial" and not way.after(node.id)]
    if len(idle) <= MOST:
        return way
    gone = {node.id for node in idle}
    others = Node(id="trials", kind="trial", title=f"{len(idle)} other trials", detail="not chosen", facts={})
    starts = dict.fromkeys((first, others.id) for first, second in way.edges if second in gone)
    return Way(
        version=way.version,
        nodes=(*(node for node in way.nodes if node.id not in gone), others),
        edges=(*(edge for edge in way.edges if edge[1] not in gone), *starts),
        missing=way.missing,
    )


def _top(row: int, of: int, rows: int) -> float:
    return MARGIN + HEAD + (row + (rows - of) / 2) * (HEIGHT + GAP_Y)


def _head(node: Node, column: int) -> str:
    return f'<text class="h" x="{MARGIN + column * (WIDTH + GAP_X)}" y="{MARGIN + 12}">{escape(node.kind)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y, to_x, to_y = start[0] + WIDTH, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    middle = (x + to_x) / 2
    return f'<path d="M{x} {y} C{middle} {y} {middle} {to_y} {to_x} {to_y}" fill="none" stroke="#94a3b8"/>'


def _box(node: Node, place: tuple[float, float]) -> str:
    x, y = place
    known = "\n".join([node.title, *(f"{name}: {value}" for name, value in node.facts.items())])
    return (
        f"<g><title>{escape(known)}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#f8fafc" stroke="#cbd5e1"/>'
        f'<rect x="{x}" y="{y}" width="4" height="{HEIGHT}" rx="2" fill="{COLOURS[node.kind]}"/>'
        f'<text class="t" x="{x + 12}" y="{y + 19}">{escape(_cut(node.title, TITLE))}</text>'
        f'<text class="d" x="{x + 12}" y="{y + 35}">{escape(_cut(node.detail, DETAIL))}</text></g>'
    )


def _facts(node: Node) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(v))}</td></tr>" for name, v in node.facts.items())
    title = f"{escape(node.title)} <small>{escape(node.kind)}, {escape(node.detail)}</small>"
    return f"<details><summary>{title}</summary><table>{rows}</table></details>"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
