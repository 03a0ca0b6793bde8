"""`python -m pg_trio` is `pg-trio`."""

import sys

from pg_trio.cli import main

sys.exit(main())
