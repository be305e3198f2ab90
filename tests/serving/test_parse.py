"""Strict JSON: each kind of bad body gets a status and the field's name, and nothing that was sent comes back."""

import json
import time
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import RequestError, ServingError
from raypipe.serving.fields import LONGEST_TEXT, Field, request_fields
from raypipe.serving.parse import Parser
from raypipe.spec import Pipeline
from raypipe.spec.shape import schema
from tests.serving.pipeline import pipeline as late

GOOD = {
    "carrier": "UA",
    "flight": 1,
    "origin": "EWR",
    "charter": False,
    "scheduled_at": "2013-06-01T10:00:00-04:00",
    "distance": 100.5,
}
CANARY = "canary7f3a"


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(request_fields(late), max_rows=3)


def refusal(parser: Parser, body: object) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as caught:
        parser.parse(raw)
    return caught.value


def test_one_row(parser: Parser) -> None:
    rows, many = parser.parse(json.dumps(GOOD).encode())
    assert not many
    assert rows == [("UA", 1, "EWR", False, datetime(2013, 6, 1, 14, tzinfo=UTC), 100.5)]


def test_many_rows_in_order_as_typed_columns(parser: Parser, pipeline: Pipeline) -> None:
    rows, many = parser.parse(json.dumps({"rows": [GOOD, GOOD | {"flight": 2}]}, indent=2).encode())
    frame = parser.frame(rows)
    assert many
    assert frame["flight"].to_list() == [1, 2]
    types = schema(pipeline.ask.stream)
    assert dict(frame.schema) == {name: types[name] for name in pipeline.request.fields}
    assert frame["scheduled_at"].to_list() == [datetime(2013, 6, 1, 14, tzinfo=UTC)] * 2


def test_every_wrong_type_of_a_row_is_told_at_once(parser: Parser) -> None:
    wrong = GOOD | {"flight": "one", "origin": 3, "scheduled_at": 5}
    said = refusal(parser, {"rows": [GOOD, wrong]})
    assert said.where == "rows[1].flight"
    assert said.what == (
        "must be a whole number, not text; `origin` must be text, not a whole number; "
        "`scheduled_at` must be a time in RFC 3339, such as 2026-01-01T12:00:00Z, not a whole number"
    )
    assert said.cure == ""
    with pytest.raises(RequestError) as caught:
        parser.convert([{name: str(value) for name, value in GOOD.items()} | {"flight": "x"}], texts=True)
    assert (caught.value.where, caught.value.what) == ("flight", "must be a whole number, not text")


@pytest.mark.parametrize("sent", [{}, {"distance": None}])
def test_an_optional_field_may_be_left_out_or_null(parser: Parser, sent: dict[str, None]) -> None:
    required = {name: value for name, value in GOOD.items() if name != "distance"}
    rows, _ = parser.parse(json.dumps(required | sent).encode())
    assert parser.frame(rows)["distance"].to_list() == [None]
    assert parser.frame(rows).schema["distance"] == pl.Float64


@pytest.mark.parametrize("name", [name for name in GOOD if name != "distance"])
def test_a_missing_field_is_named(parser: Parser, name: str) -> None:
    error = refusal(parser, {key: value for key, value in GOOD.items() if key != name})
    assert (error.status, error.where, error.what) == (422, name, "is missing")
    assert error.cure == "Send it: it is not optional"


WRONG = {
    "carrier": ["1", "null", "[]", "{}", "true", '"' + "x" * (LONGEST_TEXT + 1) + '"'],
    "flight": ['"1"', "1.5", "true", "null", str(2**63), str(-(2**63) - 1), "9" * 5_000, "1e400"],
    "charter": ["0", '"true"', "null"],
    "scheduled_at": ["1.5", '"now"', '"2013-06-01"', '"2013-06-01T25:00:00Z"', "null", '""'],
    "distance": ['"1"', "true", "[1.0]"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named(parser: Parser, name: str, value: str) -> None:
    error = refusal(parser, json.dumps(GOOD | {name: "@"}).replace('"@"', value).encode())
    assert (error.status, error.where) == (400 if len(value) == 5_000 else 422, name)
    assert error.what.startswith(("must be ", "is out of range", "is too long"))


def test_to_look_for_a_number_without_end_takes_no_time(parser: Parser) -> None:
    """Many numbers that are nearly long enough are looked through once, not once from each of their digits."""
    body = b'{"carrier": 1, "origin": "' + b" ".join([b"9" * 999] * 4_000) + b'"}'
    began = time.perf_counter()
    assert refusal(parser, body).status == 422
    assert time.perf_counter() - began < 2


def test_what_breaks_off_is_no_json(parser: Parser) -> None:
    error = refusal(parser, b'{"carrier": "UA" "flight": 1}')
    assert (error.status, error.where) == (400, "carrier")
    assert error.what == "has a value, or is followed by something, that is not JSON"
    assert error.cure


@pytest.mark.parametrize("end", ["", ',"origin": "EW', ',"origin": tru'])
def test_a_body_that_did_not_come_whole_is_told_as_such(parser: Parser, end: str) -> None:
    """Nothing is wrong with the value of its last field."""
    error = refusal(parser, ('{"carrier": "UA"' + end).encode())
    assert (error.status, error.where, error.what) == (400, "body", "is JSON that ends too early")
    assert ("`origin`" if end else "`carrier`") in error.cure


def test_a_naive_time_is_named_with_the_cure(parser: Parser) -> None:
    error = refusal(parser, GOOD | {"scheduled_at": "2013-06-01T10:00:00"})
    assert (error.status, error.where) == (422, "scheduled_at")
    assert "zone" in error.what


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "-1e999"])
def test_a_number_that_is_none_is_named(parser: Parser, number: str) -> None:
    error = refusal(parser, json.dumps(GOOD).replace("100.5", number).encode())
    assert error.where == "distance"
    assert error.status == (422 if "e999" in number else 400)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GOOD)[:-1] + ', "flight": 2}',
        json.dumps(GOOD)[:-1] + ', "fl\\u0069ght": 2}',
        json.dumps(GOOD)[:-1] + ', "flight" \n : 2}',
        '{"rows": [' + json.dumps(GOOD)[:-1] + ', "flight": 2}]}',
    ],
)
def test_a_field_that_stands_twice_is_named(parser: Parser, body: str) -> None:
    error = refusal(parser, body.encode())
    assert (error.status, error.where, error.what) == (400, "flight", "stands twice")


def test_a_repeat_cannot_hide_behind_a_field_that_is_left_out(parser: Parser) -> None:
    body = json.dumps({name: value for name, value in GOOD.items() if name != "distance"})
    assert refusal(parser, (body[:-1] + ', "flight": 2}').encode()).where == "flight"


def test_text_that_looks_like_a_key_is_no_repeat(parser: Parser) -> None:
    rows, _ = parser.parse(json.dumps(GOOD | {"carrier": 'a":b'}).encode())
    assert rows[0][0] == 'a":b'


def test_for_an_unknown_field_the_near_one_is_offered(parser: Parser) -> None:
    error = refusal(parser, GOOD | {"flihgt": 1})
    assert (error.status, error.where, error.cure) == (422, "body", "Did you mean `flight`?")
    assert refusal(parser, {"rows": [GOOD, GOOD | {"flihgt": 1}]}).where == "rows[1]"


def test_a_row_among_many_is_named_by_its_place(parser: Parser) -> None:
    assert refusal(parser, {"rows": [GOOD, GOOD | {"flight": "x"}]}).where == "rows[1].flight"
    assert refusal(parser, {"rows": [GOOD, {}]}).where == "rows[1].carrier"


@pytest.mark.parametrize(("rows", "status"), [([], 422), ([GOOD] * 4, 413), (3, 422), ([3], 422)])
def test_rows_within_limits(parser: Parser, rows: object, status: int) -> None:
    error = refusal(parser, {"rows": rows})
    assert error.status == status
    assert error.where.startswith("rows")


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"null", 422, "body"),
        (b"[]", 422, "body"),
        (b"3", 422, "body"),
        (b'"text"', 422, "body"),
        (b"\xef\xbb\xbf{}", 400, "body"),
        (b"{'carrier': 'UA'}", 400, "body"),
        (b'{"carrier": "\xff"}', 400, "carrier"),
        (b'{"carrier": "\\ud800"}', 400, "carrier"),
        (b'{"carrier": "a\nb"}', 400, "carrier"),
        (b'{"carrier": ' + b"[" * 100_000, 422, "carrier"),
        (b'{"carrier": "UA", "origin": ' + b'{"a":' * 50_000, 422, "origin"),
        (json.dumps(GOOD).encode() + b"{}", 400, "distance"),
    ],
)
def test_what_is_no_request(parser: Parser, body: bytes, status: int, where: str) -> None:
    error = refusal(parser, body)
    assert (error.status, error.where) == (status, where)


@pytest.mark.parametrize(
    "body",
    [
        GOOD | {"flight": CANARY},
        GOOD | {"scheduled_at": CANARY},
        GOOD | {"carrier": CANARY * 200},
        {"rows": [GOOD, GOOD | {"distance": CANARY}]},
        CANARY,
        [CANARY],
        f'{{"carrier": "{CANARY}'.encode(),
        f'{{"carrier": "{CANARY}", "flight": NaN'.encode(),
        f'{{"carrier": {CANARY}}}'.encode(),
        GOOD | {f"<{CANARY}>": 1},
        GOOD | {CANARY: 1},
        {"rows": [GOOD, GOOD | {CANARY: 1}]},
    ],
)
def test_an_error_never_repeats_what_was_sent(parser: Parser, body: object) -> None:
    assert CANARY not in str(refusal(parser, body))


@given(
    st.binary(max_size=200)
    | st.text(alphabet='{}[]":,truefalsnN0123456789.eE+-\\ carrier', max_size=80).map(str.encode)
)
def test_any_bytes_are_refused_in_a_sentence(body: bytes) -> None:
    error = refusal(Parser(request_fields(late), max_rows=3), body)
    assert error.status in (400, 422)
    assert error.where
    assert error.what


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "rows", "x"]), inner, max_size=8)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_rows_or_a_refusal(value: object) -> None:
    """Whatever gets through has exactly the declared fields; compared with Python's own, lenient reader."""
    body = json.dumps(value).encode()
    parser = Parser(request_fields(late), max_rows=3)
    try:
        rows, _ = parser.parse(body)
    except RequestError:
        return
    assert parser.frame(rows).height == len(rows)


@given(
    st.fixed_dictionaries(
        {
            "carrier": st.text(max_size=20),
            "flight": st.integers(-(2**63), 2**63 - 1),
            "origin": st.text(max_size=5),
            "charter": st.booleans(),
            "scheduled_at": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
            "distance": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        }
    )
)
def test_good_values_arrive_unchanged(row: dict[str, object]) -> None:
    parser = Parser(request_fields(late), max_rows=3)
    rows, _ = parser.parse(json.dumps(row).encode())
    got = parser.frame(rows).row(0, named=True)
    assert got == row | {"scheduled_at": datetime.fromisoformat(str(row["scheduled_at"]))}


def test_a_type_that_json_cannot_hold_is_refused_when_the_model_is_loaded() -> None:
    assert Field("n", int, pl.Int8(), required=True).json_schema == {"type": "integer"}
    with pytest.raises(ServingError, match=r"`spans`.*List"):
        request_fields(_pipeline_asking_for_a_list())


def _pipeline_asking_for_a_list() -> Pipeline:
    from raypipe.spec import Stream, csv, days, hours, models, periods, request, search

    stream = Stream(
        "s",
        csv("s.csv"),
        id=["t"],
        time="t",
        columns={str: "t"},
        derive={"spans": pl.concat_list("t")},
        reveals={"t": []},
    )
    return Pipeline(
        "p",
        ask=stream.before("t", hours(1)),
        inputs=[request("spans").with_features(n=pl.col("spans").list.len())],
        label=stream.label(pl.col("t").is_null(), settled_after=days(1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=search.Search([models.Linear()]),
    )
