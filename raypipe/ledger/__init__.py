"""The one append-only history of decisions and effects."""

from raypipe.ledger.ledger import Entry, Ledger

__all__ = ["Entry", "Ledger"]
