"""Serve the champion of a pipeline on a cluster, with fresh features and without training again.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/deploy.py examples/flights/pipeline.py

Arguments, output and exit codes are those of ``raypipe deploy``. jobs/train.py says where everything is kept.
"""

import sys

from raypipe.cli.life import deploy
from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(command=deploy))
