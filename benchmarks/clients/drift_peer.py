# mypy: ignore-errors
# It runs in the environment of a peer, which has none of our types.
"""Runs in a peer's own environment: prints the seconds to prepare a reference, and to check as many rows against it."""

import json
import os
import sys
import time
import warnings
from statistics import median

os.environ.update({"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"})
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

NAME, A, B = sys.argv[1], np.load(sys.argv[2]), np.load(sys.argv[3])
NAMES = [f"x{i}" for i in range(A.shape[1])]


def frames():
    return pd.DataFrame(A, columns=NAMES), pd.DataFrame(B, columns=NAMES)


def evidently():
    from evidently import Report
    from evidently.presets import DataDriftPreset

    a, b = frames()
    return lambda: Report([DataDriftPreset()]).run(b, a).dict()


def nannyml():
    import nannyml as nml

    a, b = frames()
    made = nml.UnivariateDriftCalculator(
        column_names=NAMES, continuous_methods=["kolmogorov_smirnov"], chunk_size=len(B)
    ).fit(a)
    return lambda: made.calculate(b)


def alibi():
    from alibi_detect.cd import KSDrift

    made = KSDrift(A, p_val=0.05)
    return lambda: made.predict(B)


began = time.perf_counter()
check = {"evidently": evidently, "nannyml": nannyml, "alibi-detect": alibi}[NAME]()
prepared = time.perf_counter() - began
check()
times = []
for _ in range(3):
    began = time.perf_counter()
    check()
    times.append(time.perf_counter() - began)
print(json.dumps([prepared, median(times)]))
