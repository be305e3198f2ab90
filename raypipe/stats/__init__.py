"""Pure maths that merges: state per event, added in any order, read at any point. NumPy and Arrow only.

The aggregates of features begin at `raypipe.stats.kernel`, the only place that knows how they are computed. What is
kept of them, how it is packed and found, and who asks, is the business of the room ``features``.
"""
