"""Errors are sentences, and they cross processes whole."""

import copy
import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe import errors
from raypipe.errors import DefinitionError, Fault, RaypipeError, RequestError, SourceError, did_you_mean

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RaypipeError)]
PLAIN = [kind for kind in KINDS if kind is not DefinitionError]


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("send", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_they_cross_processes(kind: type[RaypipeError], send) -> None:
    error = kind("is broken", where="table flights", cure="Mend it")
    arrived = send(error)
    assert type(arrived) is kind
    assert str(arrived) == str(error) == "table flights: is broken. Mend it."
    assert (arrived.what, arrived.where, arrived.cure) == ("is broken", "table flights", "Mend it")


def test_a_request_error_keeps_its_status() -> None:
    assert pickle.loads(pickle.dumps(RequestError("no", where="carrier", status=413))).status == 413


def test_a_definition_error_keeps_all_its_faults() -> None:
    error = DefinitionError([Fault("p.py:3", "is wrong", "Mend it"), Fault("p.py:9", "is worse")])
    arrived = pickle.loads(pickle.dumps(error))
    assert arrived.faults == error.faults
    assert str(arrived) == "p.py:3: is wrong. Mend it.\np.py:9: is worse"


def test_they_cross_ray_and_the_standard_library_alike() -> None:
    """Code that knows nothing of raypipe can still catch them as what they are."""
    for kind, standard in (("SourceError", OSError), ("WorkspaceError", OSError), ("RequestError", ValueError)):
        with pytest.raises(standard):
            raise getattr(errors, kind)("is broken", where="here")


@pytest.mark.parametrize("kind", KINDS)
def test_each_says_what_it_is_for_and_ends_a_program_in_failure(kind: type[RaypipeError]) -> None:
    assert inspect.getdoc(kind)
    assert 1 <= kind.exit_code <= 125
    assert kind.__name__.endswith("Error")


@given(st.text(min_size=1), st.text(), st.text())
def test_sentences_end_once(what: str, where: str, cure: str) -> None:
    text = str(SourceError(what, where=where, cure=cure))
    assert what.rstrip(".") in text
    assert text.startswith(where)
    if cure:
        assert text[-1] in ".?!"


@pytest.mark.parametrize(
    ("wrong", "known", "cure"),
    [
        ("amout", ["amount", "card"], "Did you mean `amount`?"),
        ("zzz", ["b", "a"], "Known: `a`, `b`"),
        ("x", [], ""),
        ("zzz", [f"n{i:02}" for i in range(20)], ", `n11`, …"),
    ],
)
def test_the_nearest_word(wrong: str, known: list[str], cure: str) -> None:
    assert did_you_mean(wrong, known).endswith(cure)
