"""A bundle is what its digest says, to the last bit, or nothing in it is read."""

import os
import shutil
import socket
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from raypipe.contracts import bundle
from raypipe.contracts.bundle import Card, Manifest, Stamp
from raypipe.errors import RegistryError
from tests.contracts.bundles import FEATURES, ROWS, SIGNATURE, make_bundle


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "sound"
    make_bundle(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(sound, tmp_path / "bundle"))


FILES = ("card.json", "golden.parquet", "model.onnx", "model.txt", "pipeline.json", "signature.json")


def test_everything_written_is_read_back(folder: Path) -> None:
    pipeline, digest = make_bundle(folder.parent / "b", weight=2.0)
    read = folder.parent / "b"
    assert bundle.verify(read, digest).digest == digest
    assert tuple(sorted(bundle.verify(read).files)) == FILES
    assert bundle.pipeline(read) == pipeline
    assert bundle.signature(read) == SIGNATURE
    assert bundle.card(read).params == {"weight": 2.0}
    golden = bundle.golden(read)
    assert_frame_equal(golden.drop("score"), ROWS)
    assert golden.columns == [*FEATURES, "score"]


def test_the_digest_names_the_content(folder: Path) -> None:
    """Oracle: sha256sum on the command line would say the same."""
    import hashlib

    digest = bundle.seal(folder)
    assert digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    manifest = bundle.verify(folder)
    for name, stamp in manifest.files.items():
        content = (folder / name).read_bytes()
        assert stamp == Stamp(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_sealing_again_changes_nothing_and_other_content_has_another_digest(folder: Path) -> None:
    first = bundle.seal(folder)
    assert bundle.seal(folder) == first
    (folder / "model.txt").write_text("other")
    assert bundle.seal(folder) != first


def test_the_same_content_has_the_same_digest_wherever_it_is(tmp_path: Path) -> None:
    assert make_bundle(tmp_path / "a" / "x")[1] == make_bundle(tmp_path / "b" / "y")[1]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RegistryError, match=f"file `{name}` is missing"):
        bundle.verify(folder)


@pytest.mark.parametrize("name", [*bundle.REQUIRED, "manifest.json"])
def test_nothing_is_complete_without_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    if name != "manifest.json":
        with pytest.raises(RegistryError, match=f"file `{name}` is missing"):
            bundle.seal(folder)
    with pytest.raises(RegistryError, match=f"file `{name}` is missing"):
        bundle.verify(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named_with_both_sizes(folder: Path, name: str) -> None:
    size = (folder / name).stat().st_size
    os.truncate(folder / name, size - 1)
    with pytest.raises(RegistryError, match=rf"file `{name}` is truncated: {size - 1} bytes instead of {size}"):
        bundle.verify(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_longer_file_is_named(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RegistryError, match=f"file `{name}` is altered"):
        bundle.verify(folder)


@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_is_found(sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    digest = bundle.verify(sound).digest
    folder = Path(shutil.copytree(sound, tmp_path_factory.mktemp("flip") / "b"))
    name = data.draw(st.sampled_from([*FILES, "manifest.json"]))
    content = bytearray((folder / name).read_bytes())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << (bit % 8)
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match=f"file `{name}`"):
        bundle.verify(folder, digest)
    shutil.rmtree(folder)


@settings(max_examples=40)
@given(data=st.data())
def test_a_manifest_is_refused_unless_written_as_one(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Also without a digest to compare it with: one content has one text, so one digest."""
    folder = Path(shutil.copytree(sound, tmp_path_factory.mktemp("text") / "b"))
    text = (folder / "manifest.json").read_bytes()
    at = data.draw(st.integers(0, len(text)))
    (folder / "manifest.json").write_bytes(
        text[:at] + data.draw(st.sampled_from([b" ", b"\n", b"{", b'"x":1,'])) + text[at:]
    )
    with pytest.raises(RegistryError):
        bundle.verify(folder)
    shutil.rmtree(folder)


def test_another_bundle_in_its_place_is_found(folder: Path, tmp_path: Path) -> None:
    digest = bundle.verify(folder).digest
    make_bundle(tmp_path / "other", weight=3.0)
    with pytest.raises(RegistryError, match=r"file `manifest\.json` is altered: its digest is not"):
        bundle.verify(tmp_path / "other", digest)


def test_an_extra_file_is_named(folder: Path) -> None:
    (folder / "extra.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"file `extra.json` is not in the manifest"):
        bundle.verify(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.pkl", "model.pickle", "model.joblib", "model.pt", "model.bin", "model.so", "model.py", "model.pth",
        "model.npy", "model.h5", "model.keras", "conda.yaml", "MLmodel", ".hidden.json", "model.ONNX", "Model.onnx",
        "model.onnx.json", "model", ".json", "mo del.json", "model.json ", "model.json\n", "módel.json", "-rf.txt",
        "a" * 80 + ".json",
    ],
)  # fmt: skip
def test_only_data_in_plain_names_is_allowed(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04.")
    for act in (bundle.verify, bundle.seal):
        with pytest.raises(RegistryError, match="is not a kind of file that a bundle may hold"):
            act(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "model.skops", "reference.parquet", "notes.txt"])
def test_other_data_may_come_along(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"content")
    assert name in bundle.verify(folder, bundle.seal(folder)).files


@pytest.mark.parametrize("name", ["model.txt", "model.onnx", "manifest.json"])
def test_a_link_is_refused_although_its_target_is_right(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    for act in (bundle.verify, bundle.seal):
        with pytest.raises(RegistryError, match=f"file `{name}` is not a plain file"):
            act(folder)


def test_a_link_that_took_the_place_of_a_listed_file_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = bundle._listed(folder)
    (folder / "model.txt").rename(tmp_path / "elsewhere")
    (folder / "model.txt").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(bundle, "_listed", lambda _: listed)
    with pytest.raises(RegistryError, match=r"file `model\.txt` cannot be read"):
        bundle.verify(folder)


def test_what_is_no_file_is_refused_without_waiting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "inner.json").mkdir()
    with pytest.raises(RegistryError, match=r"file `inner.json` is not a plain file"):
        bundle.verify(folder)
    (folder / "inner.json").rmdir()
    (folder / "model.txt").unlink()
    os.mkfifo(folder / "model.txt")
    with pytest.raises(RegistryError, match=r"file `model.txt` is not a plain file"):
        bundle.verify(folder)
    (folder / "model.txt").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)  # a socket's path holds at most 107 bytes
        listener.bind("model.txt")
        with pytest.raises(RegistryError, match=r"file `model.txt` is not a plain file"):
            bundle.verify(folder)


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/b.json", "..", "", "manifest.json", "model.pkl"])
def test_a_manifest_cannot_point_elsewhere(folder: Path, name: str) -> None:
    manifest = bundle.verify(folder)
    stamp = Stamp(size=1, sha256="0" * 64)
    (folder / "manifest.json").write_text(Manifest(files=manifest.files | {name: stamp}).to_json())
    with pytest.raises(RegistryError):
        bundle.verify(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"files":{"a.json":{"size":"x","sha256":""}}}', b"0" * 3_000_000]
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(RegistryError, match=r"file `(manifest|model)\."):
        bundle.verify(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for act in (bundle.verify, bundle.seal):
        with pytest.raises(RegistryError, match="cannot be read: No such file"):
            act(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("card.json", bundle.card),
        ("signature.json", bundle.signature),
        ("pipeline.json", bundle.pipeline),
        ("golden.parquet", bundle.golden),
    ],
)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"is":"Stream"}', b"PAR1PAR1PAR1PAR1"])
def test_a_reader_says_which_file_it_could_not_read(folder: Path, name: str, read, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match=f"file `{name}`") as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(RegistryError, match=f"file `{name}` cannot be read"):
        read(folder)


def test_golden_rows_need_scores(folder: Path) -> None:
    ROWS.write_parquet(folder / "golden.parquet")
    with pytest.raises(RegistryError, match="has no column `score`"):
        bundle.golden(folder)


def test_golden_rows_come_in_the_order_of_the_signature(folder: Path) -> None:
    golden = ROWS.select("hour", "zone", "fare").with_columns(score=0.5, more=1)
    card = Card(algorithm="a", params={}, metrics={}, threshold=0.5, seed=0)
    bundle.write(folder, signature=SIGNATURE, pipeline=bundle.pipeline(folder), card=card, golden=golden)
    assert bundle.golden(folder).columns == [*FEATURES, "score"]
    assert bundle.golden(folder)["zone"].dtype == pl.String
