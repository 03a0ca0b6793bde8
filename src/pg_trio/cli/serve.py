"""`pg-trio serve`: run the gateway."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import trio
from attrs import evolve

from pg_trio.app import CONFIG_VARIABLE, create_app
from pg_trio.config import load_settings
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError
from pg_trio.server.stock import serve_stock


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway with a configuration file, or --demo: no file, no key, a simulated provider.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    source.add_argument("--demo", action="store_true", help="run a demonstration and print a ready curl line")
    parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen (default: [server] bind, 127.0.0.1:8080)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    # httpx logs every call's URL at INFO: noise at best.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if arguments.demo:
        from pg_trio.cli.demo import run_demo

        return run_demo(arguments.bind)
    path = arguments.config or os.environ.get(CONFIG_VARIABLE)
    if not path:
        raise ConfigError("serve", [f"no configuration: give --config FILE or --demo, or set ${CONFIG_VARIABLE}"])
    settings = load_settings(Path(path))
    if arguments.bind is not None:
        settings = evolve(settings, server=evolve(settings.server, bind=arguments.bind))
    trio.run(_serve, settings)
    return 0


async def _serve(settings: Settings) -> None:
    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(serve_stock, create_app(settings), settings.server)
        endpoints = sum(len(project.endpoints) for project in settings.projects.values())
        print(f"pg_trio · {', '.join(binds)} · projects: {len(settings.projects)} · endpoints: {endpoints}", flush=True)
