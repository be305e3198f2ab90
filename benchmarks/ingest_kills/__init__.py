"""Ingestion that is killed again and again."""
