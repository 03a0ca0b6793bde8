"""What Presidio's recognizers and LLM Guard's expressions find in texts (JSON on standard input).

Runs in the peers' environment: peer_detectors.py DATA.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from presidio_analyzer import EntityRecognizer
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    EsNieRecognizer,
    EsNifRecognizer,
    IbanRecognizer,
    IpRecognizer,
    ItFiscalCodeRecognizer,
    MacAddressRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

PRESIDIO: dict[str, list[EntityRecognizer]] = {
    "email": [EmailRecognizer()],
    "ip_address": [IpRecognizer()],
    "iban": [IbanRecognizer()],
    "credit_card": [CreditCardRecognizer()],
    "ssn_us": [UsSsnRecognizer()],
    "phone": [PhoneRecognizer()],
    "mac_address": [MacAddressRecognizer()],
    "es_nif": [EsNifRecognizer(), EsNieRecognizer()],
    "it_codice_fiscale": [ItFiscalCodeRecognizer()],
}
LLM_GUARD_NAMES = {
    "CREDIT_CARD_RE": "credit_card",
    "EMAIL_ADDRESS_RE": "email",
    "US_SSN_RE": "ssn_us",
    "PHONE_NUMBER_WITH_EXT": "phone",
    "PHONE_NUMBER_ZH": "phone",
    "IP_ADDRESS_RE": "ip_address",
    "IBAN_RE": "iban",
}


def by_presidio(text: str) -> Iterator[tuple[str, int, int]]:
    """Every result, whatever its score: without a language model no context raises it."""
    for kind, recognizers in PRESIDIO.items():
        for recognizer in recognizers:
            for found in recognizer.analyze(text, recognizer.supported_entities, None) or []:
                yield kind, found.start, found.end


def read_expressions(data: Path) -> list[tuple[str, re.Pattern[str]]]:
    """LLM Guard's list of dictionaries, read without importing its dependencies."""
    source = data / "llm_guard" / "input_scanners" / "anonymize_helpers" / "regex_patterns.py"
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Dict):
            continue
        entries = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if _is_text(key)}
        if not (_is_text(entries.get("name")) and "expressions" in entries):
            continue
        kind = LLM_GUARD_NAMES.get(entries["name"].value)
        if kind is not None:
            found += [(kind, re.compile(each)) for each in ast.literal_eval(entries["expressions"])]
    return found


def _is_text(node: object) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


EXPRESSIONS = read_expressions(Path(sys.argv[1]))


def by_llm_guard(text: str) -> Iterator[tuple[str, int, int]]:
    """Every match of its expressions."""
    for kind, expression in EXPRESSIONS:
        for found in expression.finditer(text):
            yield kind, found.start(), found.end()


def main() -> None:
    texts: list[str] = json.load(sys.stdin)
    peers: dict[str, Callable[[str], Iterator[tuple[str, int, int]]]] = {
        "Presidio": by_presidio,
        "LLM Guard": by_llm_guard,
    }
    print(json.dumps({name: [list(find(text)) for text in texts] for name, find in peers.items()}))


main()
