"""What came of making a model version again."""

from raypipe.contracts.records import Record


class Compared(Record, frozen=True, kw_only=True):
    """One thing as it was recorded and as it is now."""

    what: str
    same: bool
    recorded: str
    found: str


class Reproduction(Record, frozen=True, kw_only=True):
    """A model version made again from its record alone, and compared.

    ``results`` stand in the order in which they were made; what comes after a thing that could not be made is not
    in it. ``surroundings`` are the code, the dependencies and the hardware, then and now. ``because`` names what the
    difference most likely comes from, and is empty when there is none.
    """

    version: str
    results: tuple[Compared, ...]
    surroundings: tuple[Compared, ...]
    because: str

    @property
    def identical(self) -> bool:
        """True when everything that was made again is equal."""
        return all(result.same for result in self.results)
