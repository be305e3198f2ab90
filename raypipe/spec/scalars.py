"""Texts and embeddings as a few numbers each: a model can learn from these, and drift of these can be seen.

A text or a vector as a whole is never twice the same, so nothing can be said of its distribution. What is watched is
how long texts are, what they are made of, and where vectors lie. Each helper gives plain expressions, by the name of
the feature, as ``request(…).with_features(**text("comment"))`` takes them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: As many directions as are followed of an embedding, unless fewer are asked for.
DIRECTIONS = 8


def text(column: str, words: Sequence[str] = ()) -> dict[str, pl.Expr]:
    """Length and make-up of a text; all are null where there is no text, and shares of an empty one are null.

    Args:
        column: that holds texts.
        words: a vocabulary, of letters and digits alone; with it, the share of a text's words that are none of these,
            in whatever case, is a feature as well.

    Returns:
        ``{column}_chars``, ``_words``; as shares of all characters ``_letters``, ``_digits``, ``_capitals`` and
        ``_foreign`` (beyond ASCII, which tells one script from another); and ``_unknown``.

    Raises:
        ValueError: something in ``words`` is no word.

    >>> made = pl.DataFrame({"note": ["Gate 12 CLOSED"]}).select(**text("note", ["gate", "closed"]))
    >>> {name: round(value, 3) for name, value in made.to_dicts()[0].items()}["note_unknown"]
    0.333
    >>> made["note_words"].item(), made["note_capitals"].item() * 14
    (3, 7.0)
    """
    value = pl.col(column)
    chars = value.str.len_chars()
    length = pl.when(chars > 0).then(chars.cast(pl.Float64))
    count = value.str.count_matches(r"\S+")
    made = {"chars": chars, "words": count}
    shares = {"letters": r"\p{L}", "digits": r"\p{Nd}", "capitals": r"\p{Lu}", "foreign": r"[^\x00-\x7F]"}
    made |= {name: value.str.count_matches(pattern) / length for name, pattern in shares.items()}
    if words:
        if strange := [word for word in words if not re.fullmatch(r"\w+", word)]:
            raise ValueError(f"`{strange[0]}` is no word of letters and digits")
        told = value.str.count_matches(r"\w+")
        known = value.str.count_matches(rf"(?i)\b(?:{'|'.join(words)})\b")
        made["unknown"] = pl.when(told > 0).then(1 - known / told)
    return {f"{column}_{name}": expression for name, expression in made.items()}


@dataclass(frozen=True)
class Embedding:
    """Where vectors lie: their length, how far they are from a centre, and how far along a few directions.

    Attributes:
        centre: shape (dimensions,).
        directions: of length one, each of shape (dimensions,).
    """

    centre: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, sample: "NDArray[np.float32]", directions: int = DIRECTIONS) -> "Embedding":
        """The mean of a sample, and the directions in which it is spread most (its principal components).

        Args:
            sample: shape (rows, dimensions), finite; a few thousand rows are enough.
            directions: how many, at most as many as there are dimensions.

        Raises:
            ValueError: the sample is no finite matrix of two rows or more.
        """
        import numpy as np

        vectors = np.asarray(sample, dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) < 2 or not np.isfinite(vectors).all():
            raise ValueError("a sample of vectors is a finite matrix of two rows or more")
        centre = vectors.mean(axis=0)
        _, _, found = np.linalg.svd(vectors - centre, full_matrices=False)
        # A direction and its opposite are the same: the larger part of it is made positive.
        found *= np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])[:, None]
        kept = found[:directions]
        return cls(tuple(centre.tolist()), tuple(tuple(row) for row in kept.tolist()))

    def features(self, name: str, columns: Sequence[str]) -> dict[str, pl.Expr]:
        """The numbers as features; null where a part of the vector is.

        Args:
            name: with which the features begin: ``{name}_norm``, ``_distance``, ``_1`` and so on.
            columns: the parts of a vector, in order.

        Raises:
            ValueError: there are not as many columns as dimensions.

        >>> flat = Embedding(centre=(0.0, 1.0), directions=((1.0, 0.0),))
        >>> pl.DataFrame({"x": [3.0], "y": [4.0]}).select(**flat.features("v", ["x", "y"])).row(0)
        (5.0, 4.242640687119285, 3.0)
        """
        if not columns or len(columns) != len(self.centre):
            raise ValueError(f"{len(columns)} columns for vectors of {len(self.centre)} dimensions")
        parts = [pl.col(column).cast(pl.Float64) for column in columns]
        moved = [part - middle for part, middle in zip(parts, self.centre, strict=True)]
        made = {"norm": _sum([part * part for part in parts]).sqrt()}
        made["distance"] = _sum([part * part for part in moved]).sqrt()
        for i, direction in enumerate(self.directions, 1):
            made[str(i)] = _sum([part * share for part, share in zip(moved, direction, strict=True)])
        return {f"{name}_{kind}": expression for kind, expression in made.items()}


def _sum(parts: Sequence[pl.Expr]) -> pl.Expr:
    # Halves of halves: always in the same order, so to the same bits, and never nested deeper than can be stored.
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return _sum(parts[:half]) + _sum(parts[half:])
