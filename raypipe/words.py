"""Numbers as people say them."""


def amount(number: int, noun: str) -> str:
    """How many of something.

    >>> amount(1, "table"), amount(27_004, "row"), amount(0, "trial")
    ('1 table', '27,004 rows', '0 trials')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
