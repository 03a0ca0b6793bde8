"""The benches: one command each (`scripts/bench/NAME --help`), and the harness that they share.

harness/   processes, gateways, load, tables, the command line: what two benches need is here
benches/   one module or package a bench; `run(options)` yields reports
run        the shell command behind every `scripts/bench/NAME`; those are links to it
"""
