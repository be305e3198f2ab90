"""Bring new rows of every source of a pipeline into the lake of a cluster; run it as often as you like.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/ingest.py examples/flights/pipeline.py

Arguments, output and exit codes are those of ``raypipe ingest``. jobs/train.py says where everything is kept.
"""

import sys

from raypipe.cli.life import ingest
from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(command=ingest))
