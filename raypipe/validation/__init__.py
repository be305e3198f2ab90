"""Gates: what data must satisfy before anything reads it, judged in one pass a table, with exact counts."""

from raypipe.validation.gate import check, require

__all__ = ["check", "require"]
