"""Gates: what data must satisfy before anything reads it, judged in one pass a table, with exact counts."""

from raypipe.validation.gate import Examined, check, examine, examine_rows, keys_of, require
from raypipe.validation.judge import Verdict
from raypipe.validation.subject import Subject

__all__ = ["Examined", "Subject", "Verdict", "check", "examine", "examine_rows", "keys_of", "require"]
