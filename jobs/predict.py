"""Score a whole file or table on a cluster with the champion of a pipeline, into the lake.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/predict.py flights --batch rows.csv

Arguments, output and exit codes are those of ``raypipe predict NAME --batch``. jobs/train.py says where everything is
kept.
"""

import sys

from raypipe.cli.batch import job
from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(command=job))
