"""Search, reproduction and promotion: what raypipe adds to a hand-written script, and whether it keeps its word."""
