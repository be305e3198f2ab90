"""Run a pipeline on a cluster, from raw files to a model that answers.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/train.py examples/flights/pipeline.py

Arguments, output and exit codes are those of ``raypipe run``. Tables, models and history are kept in the folder that
RAYPIPE_WORKSPACE names: ``raypipe up`` sets it for every job; on a cluster that others started, set RAYPIPE_RAY_ADDRESS
and RAYPIPE_MLFLOW_URL too, as docs/cluster.md shows.
"""

import sys

from raypipe.cli.life import run
from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(command=run))
