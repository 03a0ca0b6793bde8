"""Extract JSON from the text that models wrap around it: `output_repair = "lenient"`.

Rules:
1. A text that is JSON already stays unchanged, byte for byte.
2. A Markdown fence and the prose around it are removed. The JSON is between the first line that begins with a fence and
   the last such line.
3. A comma directly before `}` or `]` is removed, unless it is in a string.
4. Nothing else is repaired: no quotes, no brackets, no missing values. A repair never changes the model's values.

Every step is one pass over the text, because no pattern backtracks.
"""

from __future__ import annotations

import re

import orjson

# Three or more fence characters, and the rest of their line (`json`).
_FENCE = re.compile(r"^[ \t]{0,3}+(?:```|~~~)[^\n]*+$", re.MULTILINE)
# A string (even one without an end), or a trailing comma.
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]++|\\.)*+"?+)|,(?=\s*+[}\]])', re.DOTALL)


def repair_json(text: str) -> str:
    """The JSON in a model's text. Returns the text itself if it is JSON already, or if no JSON was found.

    Linear in the text.
    """
    if _is_json(text):
        return text
    repaired = _STRING_OR_COMMA.sub(_keep_string, _cut_fence(text))
    return repaired if _is_json(repaired) else text


def _cut_fence(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" not in text:
        # The answer is on the fence's own line.
        return text.strip("`").removeprefix("json").strip()
    first = _FENCE.search(text)
    if first is None:
        return text
    inside = text[first.end() :]
    # Searched from the end, because a fence inside a string of the answer must not end it.
    lines = inside.rstrip().split("\n")
    for index in range(len(lines) - 1, -1, -1):
        if _FENCE.match(lines[index]):
            return "\n".join(lines[:index]).strip()
        if lines[index].rstrip().endswith("```"):
            # The fence is at the end of the answer's last line.
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
