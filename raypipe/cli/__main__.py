"""``python -m raypipe.cli``: the command line, where no ``raypipe`` script is on the path."""

import sys

from raypipe.cli.main import main

sys.exit(main())
