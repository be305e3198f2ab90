"""Pure maths that merges: state per event, added in any order, read at any point. NumPy only."""
