"""Serving: a model version behind HTTP. One process does the whole request."""
