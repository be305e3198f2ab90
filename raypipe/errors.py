"""One tree of errors. Each message says where, what, and the cure."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class RaypipeError(Exception):
    """Root of everything raypipe raises on purpose; shown to users without a stack trace.

    Args:
        what: the fault, as a sentence without a final full stop.
        where: the place it was found, such as ``pipeline.py:18`` or ``table flights``.
        cure: what to do about it, as a sentence.

    >>> str(RaypipeError("port 8000 is taken", where="raypipe up", cure="Set `serve_port` in raypipe.toml"))
    'raypipe up: port 8000 is taken. Set `serve_port` in raypipe.toml.'
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        self.what, self.where, self.cure = what, where, cure
        super().__init__(_sentence(what, where, cure))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross Ray processes.
        return (_rebuild, (type(self), self.what, self.where, self.cure))


class SettingsError(RaypipeError, ValueError):
    """raypipe.toml or a ``RAYPIPE_*`` variable holds something that cannot be used."""

    exit_code = 2


class SourceError(RaypipeError, OSError):
    """A source cannot be read as declared: missing, corrupt, or of another shape."""

    exit_code = 3


class GateError(RaypipeError):
    """Data did not pass a gate; nothing was moved on.

    Args:
        checks: what each check that failed found, as records.
        shown: the same for people, a line or more each.
    """

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        cure: str = "",
        checks: tuple[object, ...] = (),
        shown: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, where=where, cure="" if shown else cure)
        self.cure, self.checks, self.shown = cure, checks, shown
        if shown:
            Exception.__init__(self, "\n".join((str(self), *shown, f"  {cure}.")))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_gate, (self.what, self.where, self.cure, self.checks, self.shown))


class FeatureError(RaypipeError, ValueError):
    """A feature cannot be computed as defined."""


class TrainingError(RaypipeError):
    """No model came out of a search, or a trainer broke its contract."""


class RegistryError(RaypipeError):
    """A model version is missing, incomplete, or not what its record says."""


class ServingError(RaypipeError):
    """A model cannot be put into service, or a running one cannot be reached."""


class ServiceError(RaypipeError):
    """A process that raypipe needs on this machine (Ray, MLflow, Serve) is missing or in the way."""


class NoAnswerError(ServiceError):
    """A service gave no answer this time: it may be busy, or gone. Asking again loses nothing."""


class WorkspaceError(RaypipeError, OSError):
    """The workspace folder cannot be used: not writable, or no space left."""


class LedgerError(RaypipeError):
    """The ledger cannot be read or written, or its chain is broken."""


class KeyTakenError(LedgerError):
    """One key was claimed for two different contents: somebody else was first."""


class FencedError(LedgerError):
    """Somebody else has taken the work over, so whoever had it before may not write any more."""


class NotAllowedError(LedgerError):
    """The database does not let this role write such a row."""


class RequestError(RaypipeError, ValueError):
    """A prediction request cannot be answered; ``where`` names the field.

    Args:
        status: the HTTP status that says so (4xx).
    """

    def __init__(self, what: str, *, where: str = "", cure: str = "", status: int = 422) -> None:
        super().__init__(what, where=where, cure=cure)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_request, (self.what, self.where, self.cure, self.status))


@dataclass(frozen=True)
class Fault:
    """One fault of a definition: where it is written, what is wrong, and the cure."""

    where: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        return _sentence(self.what, self.where, self.cure)


class DefinitionError(RaypipeError, ValueError):
    """A pipeline definition has faults; carries all of them, not only the first."""

    exit_code = 2

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        Exception.__init__(self, "\n".join(str(fault) for fault in self.faults))
        self.what, self.where, self.cure = str(self), "", ""

    def __reduce__(self) -> tuple[object, ...]:
        return (DefinitionError, (self.faults,))


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A cure that names the nearest known word, or lists a few of them.

    >>> did_you_mean("amout", ["amount", "card"])
    'Did you mean `amount`?'
    """
    names = sorted(known)
    if near := nearest(wrong, names):
        return f"Did you mean `{near}`?"
    shown = ", ".join(f"`{name}`" for name in names[:12])
    return f"Known: {shown}{', …' if len(names) > 12 else ''}" if names else ""


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is most like; None when it is like none.

    >>> nearest("amout", ["amount", "card"])
    'amount'
    """
    return next(iter(get_close_matches(wrong, sorted(known), n=1)), None)


def _sentence(what: str, where: str, cure: str) -> str:
    text = f"{where}: {what}" if where else what
    if not cure:
        return text
    end = "" if cure[-1] in ".?!" else "."
    return f"{text.rstrip('.')}. {cure}{end}"


def _rebuild(kind: type[RaypipeError], what: str, where: str, cure: str) -> RaypipeError:
    return kind(what, where=where, cure=cure)


def _rebuild_gate(what: str, where: str, cure: str, checks: tuple[object, ...], shown: tuple[str, ...]) -> GateError:
    return GateError(what, where=where, cure=cure, checks=checks, shown=shown)


def _rebuild_request(what: str, where: str, cure: str, status: int) -> RequestError:
    return RequestError(what, where=where, cure=cure, status=status)
