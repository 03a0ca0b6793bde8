"""JSON out of what models wrap around it: `output_repair = "lenient"`.

Rules:
1. What is JSON already is left as it is, byte for byte.
2. A Markdown fence, and the prose around it, is cut away: what counts is between the first line that begins with a
   fence and the last one that does.
3. A comma right before `}` or `]` is cut away, unless it stands in a string.
4. Nothing else is guessed: no quotes, no brackets, no missing values. What the model said stays what it said.

Every step is one pass over the text: no pattern gives back what it took.
"""

from __future__ import annotations

import re

import orjson

# Three or more, and what stands behind them on their line (`json`).
_FENCE = re.compile(r"^[ \t]{0,3}+(?:```|~~~)[^\n]*+$", re.MULTILINE)
# A string (also one that never ends), or a comma that closes nothing.
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]++|\\.)*+"?+)|,(?=\s*+[}\]])', re.DOTALL)


def repair_json(text: str) -> str:
    """The JSON text in what a model wrote; the text itself where it is JSON already, or where none was found.

    Linear in the text.
    """
    if _is_json(text):
        return text
    repaired = _STRING_OR_COMMA.sub(_keep_string, _cut_fence(text))
    return repaired if _is_json(repaired) else text


def _cut_fence(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" not in text:
        # The fence's own line holds the answer.
        return text.strip("`").removeprefix("json").strip()
    first = _FENCE.search(text)
    if first is None:
        return text
    inside = text[first.end() :]
    # From the end: the fence in a string of the answer must not end it.
    lines = inside.rstrip().split("\n")
    for index in range(len(lines) - 1, -1, -1):
        if _FENCE.match(lines[index]):
            return "\n".join(lines[:index]).strip()
        if lines[index].rstrip().endswith("```"):
            # The fence stands behind the last line of the answer.
            return "\n".join(lines[: index + 1]).rstrip().rstrip("`").strip()
    return inside.strip()


def _keep_string(found: re.Match[str]) -> str:
    return found[1] or ""


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
