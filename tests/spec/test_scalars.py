"""Texts and embeddings as numbers: what plain Python and NumPy say of them; stored, and one row like many."""

import numpy as np
import polars as pl
import pytest

from raypipe.features.logic import selected
from raypipe.spec import Expression, derived, from_json, scalars, to_json

NOTES = ["Gate 12 CLOSED.", "", "  ", "été à Paris, closed", None, "١٢ дом", "a" * 10_000]


def told(note: str | None) -> dict[str, float | None]:
    """The same by looking at every character."""
    if note is None:
        return dict.fromkeys(("chars", "words", "letters", "digits", "capitals", "foreign", "unknown"))
    shares = {
        "letters": str.isalpha,
        "digits": str.isdecimal,
        "capitals": str.isupper,
        "foreign": lambda c: ord(c) > 127,
    }
    words = "".join(c if c.isalnum() else " " for c in note).lower().split()
    return {
        "chars": len(note),
        "words": len(note.split()),
        **{name: sum(map(is_one, note)) / len(note) if note else None for name, is_one in shares.items()},
        "unknown": sum(word not in ("gate", "closed", "été") for word in words) / len(words) if words else None,
    }


def test_a_text_is_what_its_characters_and_words_are() -> None:
    made = pl.DataFrame({"n": NOTES}).select(**scalars.text("n", ["Gate", "closed", "été"]))
    for row, note in zip(made.to_dicts(), NOTES, strict=True):
        assert {name.removeprefix("n_"): value for name, value in row.items()} == pytest.approx(told(note))


def test_what_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`a\+b`"):
        scalars.text("n", ["fine", "a+b"])


def test_an_embedding_lies_where_its_sample_says() -> None:
    rng = np.random.default_rng(0)
    # Spread most along (1, 1, 0, …), next along the third axis.
    sample = rng.normal(0, 0.1, (2_000, 64)) + np.outer(rng.normal(0, 5, 2_000), np.eye(64)[0] + np.eye(64)[1])
    sample[:, 2] += rng.normal(3, 2, 2_000)
    lies = scalars.Embedding.fit(sample.astype(np.float32))
    assert len(lies.directions) == 8
    assert np.abs(lies.directions[0][:3]) == pytest.approx([0.5**0.5, 0.5**0.5, 0], abs=0.01)
    assert lies.directions[1][2] == pytest.approx(1, abs=0.01)
    columns = [f"e{i}" for i in range(64)]
    frame = pl.DataFrame(sample[:50], schema=columns)
    made = frame.select(**lies.features("e", columns))
    assert made["e_norm"].to_numpy() == pytest.approx(np.linalg.norm(sample[:50], axis=1))
    assert made["e_distance"].to_numpy() == pytest.approx(np.linalg.norm(sample[:50] - lies.centre, axis=1))
    assert made["e_1"].to_numpy() == pytest.approx((sample[:50] - lies.centre) @ lies.directions[0])
    gap = frame[:1].with_columns(e3=pl.lit(None, pl.Float64)).select(**lies.features("e", columns))
    assert gap.row(0) == (None,) * 10
    step = [(name, Expression.of(one)) for name, one in lies.features("e", columns).items()]
    single = pl.concat([selected(frame[i : i + 1], step) for i in range(50)])
    assert single.rows() == selected(frame, step).rows()  # to the same bits


def test_they_are_stored_with_a_definition() -> None:
    lies = scalars.Embedding.fit(np.random.default_rng(1).normal(size=(500, 1_024)).astype(np.float32), directions=2)
    for one in (scalars.text("n", ["late"]), lies.features("e", [f"e{i}" for i in range(1_024)])):
        feature = derived(**one)
        assert from_json(to_json(feature), type(feature)) == feature


def test_samples_that_say_nothing_are_refused() -> None:
    for sample in (np.zeros(3), np.zeros((1, 3)), np.array([[0.0], [np.nan]])):
        with pytest.raises(ValueError, match="finite matrix"):
            scalars.Embedding.fit(sample)
    with pytest.raises(ValueError, match="1 columns for vectors of 2 dimensions"):
        scalars.Embedding((0.0, 0.0), ()).features("e", ["x"])
