"""`python -m clozekit.deploy.cli`: the command, for where it is not on the path."""

import sys

from clozekit.deploy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
