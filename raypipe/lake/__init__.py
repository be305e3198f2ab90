"""The system of record: Iceberg tables that take files in exactly once and give every reader an exact snapshot."""

from raypipe.lake.lake import Lake

__all__ = ["Lake"]
