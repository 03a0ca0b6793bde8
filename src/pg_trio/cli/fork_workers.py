"""Starts the fork server of `pg-trio serve`, which forks its workers."""

from __future__ import annotations

import argparse
import gc
import sys
from functools import partial
from pathlib import Path

from pg_trio.cli import run_command
from pg_trio.cli.worker import load, serve_worker
from pg_trio.config.loading import Configuration
from pg_trio.preparation import compile_rules, compile_schemas, find_rules
from pg_trio.server.fork_server import ForkServer, start_fork_server
from pg_trio.server.worker_files import WorkerFiles

# The start waits for them.
RULES_LIMIT_S = 0.3
SCHEMAS_LIMIT_S = 0.05


def fork_workers(path: Path, configuration: Configuration | None = None) -> ForkServer | None:
    """A fork server for the configuration file at `path`; None where there can be none.

    Workers that get the text of `configuration` do not read it again.
    """
    if configuration is not None:
        projects = configuration.settings.projects.values()
        compile_rules(find_rules(projects), RULES_LIMIT_S)
        compile_schemas(projects, SCHEMAS_LIMIT_S)
        # Otherwise collections during the imports would scan what was read again and again.
        gc.collect()
        gc.freeze()
    # Modules take the place of what reading and compiling have left.
    load()
    return start_fork_server(partial(_serve, path, configuration))


def _serve(path: Path, configuration: Configuration | None, files: WorkerFiles) -> int:
    # As `python -P`: a worker must not load a module from the folder in which the gateway was started.
    if not sys.flags.safe_path:
        del sys.path[0]
    return run_command(argparse.Namespace(run=lambda _: serve_worker(path, configuration, files)))
