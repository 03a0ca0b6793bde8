"""`python -m scripts.bench NAME`: see harness/cli.py."""

import sys

from scripts.bench.harness.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
