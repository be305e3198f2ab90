"""Whether training would have seen what serving saw, feature by feature."""

from raypipe.contracts.records import Record


class Mismatch(Record, frozen=True, kw_only=True):
    """One value that serving used and history, as known then, does not give.

    Attributes:
        feature: whose value.
        key: the request fields that it was found by, or was computed from.
        at: the moment that was asked about, microseconds UTC.
        online: what serving used.
        offline: what training would have seen.
    """

    feature: str
    key: dict[str, str]
    at: int
    online: str
    offline: str


class FeatureParity(Record, frozen=True, kw_only=True):
    """One feature: how many values were compared, and how many differ from what was known then, and is known now."""

    feature: str
    compared: int
    differ_then: int
    differ_now: int


class Parity(Record, frozen=True, kw_only=True):
    """What came of replaying logged requests through the way that training takes.

    Attributes:
        pipeline: its name.
        rows: how many were replayed.
        left_out: how many could not be, by reason.
        not_logged: features that the log does not keep, or keeps only as hashes.
        features: in the pipeline's order.
        mismatches: the values that differ from what was known then; all of them, or the first ones of each feature.
    """

    pipeline: str
    rows: int
    left_out: dict[str, int]
    not_logged: tuple[str, ...]
    features: tuple[FeatureParity, ...]
    mismatches: tuple[Mismatch, ...]

    @property
    def equal(self) -> bool:
        """Some values were compared, and every one that serving used is the one that was known then."""
        return any(one.compared for one in self.features) and not any(one.differ_then for one in self.features)
