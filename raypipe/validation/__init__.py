"""Gates: what data must satisfy before anything reads it, judged in one pass a table, with exact counts."""

from raypipe.validation.gate import Examined, check, examine, require

__all__ = ["Examined", "check", "examine", "require"]
