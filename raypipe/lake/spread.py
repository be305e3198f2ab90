"""Work that is spread over the cluster: a Ray Data task each, whose results and faults come back in order."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from raypipe.contracts.records import Record
from raypipe.errors import ServiceError, SourceError


class Errand(Protocol):
    """Something to do in any process that gives a record."""

    def run(self) -> Record:
        """Do it."""
        ...


def spread(errands: Sequence[Errand], name: str) -> Iterator[str]:
    """What errands give, in their order, as JSON.

    Args:
        errands: they go to other machines.
        name: what the dashboard calls them.

    Raises:
        SourceError, ServiceError, OSError: one of them raised it; what others do meanwhile is not waited for.
    """
    import ray

    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    shared = ray.put(list(errands))

    def run(row: dict[str, int]) -> dict[str, str | int]:
        # A fault comes back as a value: the cluster would wrap it in words of its own.
        nothing: dict[str, str | int] = dict.fromkeys(("found", "kind", "what", "where", "cure"), "") | {"errno": 0}
        try:
            return nothing | {"found": ray.get(shared)[row["id"]].run().to_json()}
        except (SourceError, ServiceError) as fault:
            kind = type(fault).__name__
            return nothing | {"kind": kind, "what": fault.what, "where": fault.where, "cure": fault.cure}
        except OSError as error:
            return nothing | {"kind": "OSError", "what": str(error.strerror or error), "errno": error.errno or 0}

    run.__name__ = name
    with ray.data.DataContext.current(context):
        found = ray.data.range(len(errands), override_num_blocks=len(errands)).map(run)
    for row in found.iter_rows():
        if row["kind"] == "OSError":
            raise OSError(row["errno"], row["what"])
        if row["kind"]:
            fault = ServiceError if row["kind"] == ServiceError.__name__ else SourceError
            raise fault(row["what"], where=row["where"], cure=row["cure"])
        yield row["found"]
