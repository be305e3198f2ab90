"""When a model is trained anew, and whether the challenger takes over: pure decisions on plain facts.

Its modules are imported one by one: `raypipe status`, which looks how far a training has come, needs no NumPy.
"""
