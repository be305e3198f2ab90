"""A model version is checked before it answers; whatever is wrong with it is said in a sentence."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from raypipe.contracts import bundle
from raypipe.contracts.bundle import TOLERANCE, Card
from raypipe.contracts.encode import Encoder
from raypipe.contracts.signature import Column, Signature
from raypipe.errors import FeatureError, RegistryError, RequestError, ServingError
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Model, Served
from raypipe.spec import Pipeline
from tests.serving.conftest import GOLDEN, expected, linear, make_bundle
from tests.serving.reader import FakeReader


def resealed(folder: Path) -> Served:
    """A bundle that was changed and sealed again: its bytes are what its manifest says."""
    (folder / bundle.MANIFEST).unlink()
    return Served(folder=str(folder), digest=bundle.seal(folder), version=1)


def test_golden_rows_get_their_scores(served: Served) -> None:
    model = Model(served)
    scores = model.score(model.encode(GOLDEN))
    wanted = expected(model.signature.encode(GOLDEN), [0.3, 0.01, 0.0001, 0.02], 0.0)
    assert scores == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("wrong_by", [10 * TOLERANCE, -0.2, float("nan")])
def test_another_score_on_a_golden_row_refuses_the_model(tmp_path: Path, pipeline: Pipeline, wrong_by: float) -> None:
    with pytest.raises(ServingError, match=r"late/1: 4 of 4 golden rows get another score"):
        Model(make_bundle(tmp_path / "b", pipeline, wrong_by=wrong_by))


def test_an_altered_file_is_refused_before_it_is_read(tmp_path: Path, served: Served) -> None:
    folder = tmp_path / "b"
    shutil.copytree(served.folder, folder)
    content = bytearray((folder / bundle.MODEL).read_bytes())
    content[-1] ^= 1
    (folder / bundle.MODEL).write_bytes(content)
    with pytest.raises(RegistryError, match=r"model\.onnx"):
        Model(Served(folder=str(folder), digest=served.digest, version=1))


def test_another_bundle_under_the_same_folder_is_refused(served: Served) -> None:
    with pytest.raises(RegistryError, match="digest"):
        Model(Served(folder=served.folder, digest="0" * 64, version=1))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        Model(Served(folder=str(tmp_path / "nowhere"), digest="0" * 64, version=1))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 100])
def test_what_is_no_onnx_is_refused(tmp_path: Path, pipeline: Pipeline, content: bytes) -> None:
    make_bundle(tmp_path / "b", pipeline)
    (tmp_path / "b" / bundle.MODEL).write_bytes(content)
    with pytest.raises(ServingError, match=r"model\.onnx: "):
        Model(resealed(tmp_path / "b"))


def test_a_model_of_another_width_is_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    make_bundle(tmp_path / "b", pipeline)
    linear(tmp_path / "b" / bundle.MODEL, [1.0, 2.0], 0.0)
    with pytest.raises(ServingError, match="cannot score its golden rows"):
        Model(resealed(tmp_path / "b"))


def test_weights_in_other_files_are_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    """Such a model reads any file of the machine that it names."""
    make_bundle(tmp_path / "b", pipeline)
    path = tmp_path / "b" / bundle.MODEL
    model = onnx.load_model(path)
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ServingError, match="weights in other files"):
        Model(resealed(tmp_path / "b"))


def test_scores_of_another_shape_are_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    make_bundle(tmp_path / "b", pipeline)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["score"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "b" / bundle.MODEL).write_bytes(model.SerializeToString())
    with pytest.raises(ServingError, match="shape"):
        Model(resealed(tmp_path / "b"))


def test_a_model_without_golden_rows_is_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    make_bundle(tmp_path / "b", pipeline)
    GOLDEN.with_columns(score=0.5).clear().write_parquet(tmp_path / "b" / bundle.GOLDEN)
    with pytest.raises(ServingError, match="no golden rows"):
        Model(resealed(tmp_path / "b"))


def test_a_model_of_other_features_is_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    folder = tmp_path / "b"
    make_bundle(folder, pipeline)
    signature = Signature(columns=tuple(reversed(Signature.fit(GOLDEN, pipeline.feature_names).columns)))
    card = Card(algorithm="linear", params={}, metrics={}, threshold=0.5, seed=0)
    bundle.write(folder, signature=signature, pipeline=pipeline, card=card, golden=GOLDEN.with_columns(score=0.5))
    with pytest.raises(ServingError, match="other features"):
        Model(resealed(folder))


COLUMNS = {
    "text": st.none() | st.sampled_from(["UA", "AA", "??", ""]),
    "whole": st.none() | st.integers(-100, 100),
    "real": st.none() | st.floats(width=32, allow_infinity=False),
    "flag": st.none() | st.booleans(),
}
TYPES = {"text": pl.String, "whole": pl.Int16, "real": pl.Float64, "flag": pl.Boolean}


@given(st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=8))
def test_the_fast_encoding_is_the_encoding(rows: list[dict[str, object]]) -> None:
    signature = Signature(
        columns=tuple(Column(name=name, vocabulary=("UA", "AA") if name == "text" else None) for name in COLUMNS)
    )
    frame = pl.DataFrame(rows, schema=TYPES)
    encode = Encoder(signature)
    matrix = encode(frame)
    np.testing.assert_array_equal(matrix, signature.encode(frame))
    np.testing.assert_array_equal(encode.rows(frame.rows()), matrix)
    assert encode.unseen(matrix, lambda at: frame[:, at].to_list()) == {
        name: count for name, count in signature.unseen(frame).items() if count
    }


def test_no_category_means_nothing_unseen() -> None:
    encode = Encoder(Signature(columns=(Column(name="n"),)))
    frame = pl.DataFrame({"n": [0.0]})
    assert encode.unseen(encode(frame), lambda at: frame[:, at].to_list()) == {}


class NoFeatures(FakeReader):
    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        raise FeatureError("no features are stored for this version", where="late", cure="Run `raypipe run`")


class OneRow(FakeReader):
    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        return super().compute(requests).head(1)


class RowsAlone(FakeReader):
    """Answers rows, and makes no frames of them."""

    def answer(self, rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
        return FakeReader(self.pipeline).answer(rows)

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("a frame was made")


def test_a_few_rows_are_answered_without_frames_and_alike(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"carrier":"%b","flight":1,"origin":"E","charter":true,"scheduled_at":"2013-06-01T0%d:00:00Z"}'
    rows = [engine.parser.parse(body % (carrier, hour))[0][0] for carrier in (b"UA", b"??") for hour in range(4)]
    as_frames = engine.matrix(rows * 100)[: len(rows)]
    monkeypatch.setattr(engine, "_reader", RowsAlone(engine.model.pipeline))
    np.testing.assert_array_equal(engine.matrix(rows), as_frames)
    with pytest.raises(AssertionError, match="a frame was made"):
        engine.matrix(rows * 100)


def test_a_model_whose_features_are_not_there_does_not_begin_to_answer(served: Served) -> None:
    with pytest.raises(ServingError, match="no features are stored"):
        Engine(served, NoFeatures, Meter())


def test_features_that_go_away_are_the_servers_fault(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    row, _ = engine.parser.parse(
        b'{"carrier":"UA","flight":1,"origin":"E","charter":true,"scheduled_at":"2013-06-01T00:00:00Z"}'
    )
    monkeypatch.setattr(engine, "_reader", NoFeatures(engine.model.pipeline))
    with pytest.raises(RequestError) as caught:
        engine.predict(row)
    assert (caught.value.status, caught.value.where) == (503, "features")
    monkeypatch.setattr(engine, "_reader", OneRow(engine.model.pipeline))
    with pytest.raises(ServingError, match="2 rows went in, 1 came out"):
        engine.predict(row * 2)


def test_a_score_that_is_no_number_is_not_given_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(engine._scorer, score=lambda matrix: np.full(len(matrix), np.nan, np.float32))
    monkeypatch.setattr(engine, "_scorer", broken)
    row, _ = engine.parser.parse(
        b'{"carrier":"UA","flight":1,"origin":"E","charter":true,"scheduled_at":"2013-06-01T00:00:00Z"}'
    )
    with pytest.raises(ServingError, match="not a number"):
        engine.predict(row)


def test_the_example_is_asked_as_of_the_last_moment_known(engine: Engine) -> None:
    # The watermark is 2013-07-01 00:00 UTC, and this pipeline asks an hour ahead.
    assert engine.example()["scheduled_at"] == "2013-07-01T01:00:00Z"
    whole = engine.model.golden.drop_nulls().filter(pl.col("carrier").is_in(["UA", "AA"]))
    assert engine.example()["carrier"] == whole["carrier"][0], "a row without gaps, of a carrier that training saw"
