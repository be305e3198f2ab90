"""Train a challenger on a cluster, judge it against the champion, and let the better one answer.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/retrain.py flights --why "more data"

Arguments, output and exit codes are those of ``raypipe retrain``. jobs/train.py says where everything is kept.
"""

import sys

from raypipe.cli.main import main
from raypipe.cli.retrain import retrain

if __name__ == "__main__":
    sys.exit(main(command=retrain))
