"""One module or package for each bench. `scripts/bench/NAME --help` shows its docstring."""
