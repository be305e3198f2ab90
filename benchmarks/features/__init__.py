"""Training sets against hand-written Polars, DuckDB, pandas and Feast: the same answers, the time, the memory."""
