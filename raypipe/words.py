"""Words as people read them."""

import re
from html import escape

_CODE = re.compile(r"`([^`\n]+)`")


def amount(number: int, noun: str) -> str:
    """How many of something.

    >>> amount(1, "table"), amount(27_004, "row"), amount(0, "trial")
    ('1 table', '27,004 rows', '0 trials')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def as_html(text: str) -> str:
    """A sentence for a page: what stands between backticks is code.

    >>> as_html("`--rows` takes < 50")
    '<code>--rows</code> takes &lt; 50'
    """
    return _CODE.sub(r"<code>\1</code>", escape(text))
