"""Bring the online store of a cluster up to date with the lake; run it as often as you like.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/materialize.py examples/flights/pipeline.py

Arguments, output and exit codes are those of ``raypipe materialize``. jobs/train.py says where everything is kept.
"""  # noqa: E501  # the command is one line

import sys

from raypipe.cli.features import materialize
from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(command=materialize))
