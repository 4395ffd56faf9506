"""Run the command line with ``python -m skfmri``."""

import sys

from skfmri.cli import main

if __name__ == "__main__":
    sys.exit(main())
