"""Feature rows become the same matrix in training and serving, whatever is missing or new in them."""

import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.signature import Column, Signature

rows = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["UA", "AA", "DL", ""]),
        st.none() | st.floats(width=32),
        st.none() | st.integers(-(2**40), 2**40),
        st.none() | st.booleans(),
    ),
    max_size=12,
)
SCHEMA = {"carrier": pl.String, "delay": pl.Float64, "seats": pl.Int64, "late": pl.Boolean}


def frame_of(content: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame(content, schema=SCHEMA, orient="row")


@given(rows, rows)
def test_the_matrix_is_what_plain_python_says(seen: list[tuple], asked: list[tuple]) -> None:
    signature = Signature.fit(frame_of(seen), tuple(SCHEMA))
    vocabulary = signature.columns[0].vocabulary
    matrix = signature.encode(frame_of(asked))
    assert matrix.shape == (len(asked), 4)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    for row, (carrier, *numbers) in zip(matrix.tolist(), asked, strict=True):
        assert row[0] == (vocabulary.index(carrier) + 1 if carrier in vocabulary else 0)
        for found, number in zip(row[1:], numbers, strict=True):
            expected = math.nan if number is None else float(np.float32(number))
            assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(rows)
def test_the_vocabulary_is_ordered_by_frequency_then_name(seen: list[tuple]) -> None:
    values = [row[0] for row in seen if row[0] is not None]
    expected = sorted(set(values), key=lambda value: (-values.count(value), value))
    assert Signature.fit(frame_of(seen), ("carrier",)).columns[0].vocabulary == tuple(expected)


@given(rows, rows)
def test_unseen_values_are_counted(seen: list[tuple], asked: list[tuple]) -> None:
    signature = Signature.fit(frame_of(seen), tuple(SCHEMA))
    known = {row[0] for row in seen}
    assert signature.unseen(frame_of(asked)) == {"carrier": sum(row[0] not in known | {None} for row in asked)}


@given(rows, rows)
def test_it_crosses_files_unchanged(seen: list[tuple], asked: list[tuple]) -> None:
    signature = Signature.fit(frame_of(seen), tuple(SCHEMA))
    back = Signature.from_json(signature.to_json())
    assert back == signature
    np.testing.assert_array_equal(back.encode(frame_of(asked)), signature.encode(frame_of(asked)))


def test_the_order_of_columns_in_a_request_does_not_matter() -> None:
    signature = Signature.fit(frame_of([("UA", 1.0, 2, True)]), tuple(SCHEMA))
    asked = frame_of([("UA", 5.0, 6, False)])
    np.testing.assert_array_equal(
        signature.encode(asked), signature.encode(asked.select("late", "seats", "delay", "carrier"))
    )


def test_positions_of_categories() -> None:
    signature = Signature.fit(frame_of([("UA", 1.0, 2, True), ("AA", 1.0, 2, True)]), tuple(SCHEMA))
    assert signature.categories == {0: 3}


def test_a_category_that_was_always_missing_stays_one() -> None:
    """Otherwise its values would be taken for numbers, once there are some."""
    signature = Signature.fit(pl.DataFrame({"a": pl.Series([None, None], dtype=pl.String)}), ("a",))
    assert signature.columns == (Column(name="a", vocabulary=()),)
    assert signature.encode(pl.DataFrame({"a": ["x", None]})).tolist() == [[0.0], [0.0]]
    assert signature.unseen(pl.DataFrame({"a": ["x", None]})) == {"a": 1}


def test_infinity_stays() -> None:
    signature = Signature.fit(pl.DataFrame({"a": [1.0]}), ("a",))
    assert signature.encode(pl.DataFrame({"a": [math.inf, -math.inf]})).tolist() == [[math.inf], [-math.inf]]
