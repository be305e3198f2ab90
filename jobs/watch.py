"""Let a pipeline be watched on a cluster, until it is told to stop: the job ends, an actor goes on.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/watch.py flights

Arguments, output and exit codes are those of ``raypipe watch``. jobs/train.py says where everything is kept.
"""

import sys

from raypipe.cli.main import main
from raypipe.cli.watching import watch

if __name__ == "__main__":
    sys.exit(main(command=watch))
