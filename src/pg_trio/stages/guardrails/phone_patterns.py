"""Patterns of candidates for telephone numbers: see phones.py, whose checks decide."""

from __future__ import annotations

from pg_trio.stages.guardrails.linear import SplitPattern
from pg_trio.stages.guardrails.words import PHONE_SIGNS_PATTERN

# Between groups of digits: space, no-break spaces, dot, slash, hyphens, dashes.
_GAP = r"[ \x{A0}\x{202F}\x{2009}./\-\x{2010}\x{2011}\x{2013}]"
_INNER = rf"(?:{_GAP}{{0,3}}[()]?{_GAP}?\d)"
# A word's end, or the x of an extension, which the check removes.
_END = r"(?:\b|[xX])"
# Beginnings of the words that can come before a number; the check compares the whole words. Up to 32 characters
# between.
_SIGN = (
    r"(?i:\b(?:(?:[A-Za-z][A-Za-z_\-]{0,14})?phone\w*|t[eé]l\w*|ph|fono?|fax\w*|mob\w*|handy\w*|rufn\w*|ruf|rufen|festnetz\w*|durchwahl"
    r"|rückruf\w*|hotline|whatsapp|sms|cell\w*|m[óo]vil|celul\w*|gsm|landline|voicemail|pager|helpline|switchboard"
    r"|msisdn|call\w*|ring|dial|text\w*|reach|contact\w*|anrufen|erreich\w*|melden|appele\w*|joindre|llam\w*|ll[áa]mame"
    r"|chiama\w*|bel|bellen|signal|answer\w*|messages?|office|home|work|desk|direct|portable|number|nummer|numéro|número|numero)"
    rf"|телефон\w*|тел)[^0-9+]{{1,32}}|(?:{PHONE_SIGNS_PATTERN})[^0-9+]{{0,32}}|\b[TMFPtmfp]: ?"
)

# A word after a number counts too, if nothing follows that the word could belong to: "96 586625 mobile".
_BEHIND = r"[ \t,(]{1,3}(?i:office|fax|mobile|mob|cell|home|work|tel|phone|handy|landline)[ .)]{0,2}(?:[\n,;]|\z)"

_US_REST = rf"{_GAP}{{0,3}}[2-9]\d{{2}}{_GAP}{{0,3}}\d{{4}}{_END}"
PHONE_US = (
    rf"(?:\(?\+1\)?|\b(?:00|011)?1){_GAP}{{0,3}}\(?[2-9]\d{{2}}\)?{_US_REST}"
    rf"|\([2-9]\d{{2}}\){_US_REST}|\(\d{{3}}\) ?\d{{3}}[ .\-]\d{{4}}{_END}|\b1-\d{{3}}-\d{{3}}-\d{{4}}{_END}"
    rf"|\b[2-9]\d{{2}}{_GAP}{{1,3}}[2-9]\d{{2}}{_GAP}{{1,3}}\d{{4}}{_END}"
    rf"|(?:{_SIGN})(?:\+?1{_GAP}{{0,3}})?\(?[2-9]\d{{2}}\)?{_GAP}{{0,3}}\d{{3}}{_GAP}{{0,3}}\d{{4}}{_END}"
)
# Each ends with two digits at a word's end, so that the "2" of "+49 30 1234567 2 tickets" is not included.
PHONE_DE = (
    rf"(?:\(?\+49\)?|\b00 ?49){_GAP}{{0,3}}(?:\(0\))?{_INNER}{{5,12}}\d{_END}"
    rf"|(?:\(0[1-9]\d{{1,4}}\){_GAP}{{0,3}}|\b0[1-9]\d{{1,4}}{_GAP}{{1,3}})\d{{2,10}}(?:{_GAP}{{1,3}}\d{{2,5}}){{0,4}}{_END}"
    rf"|\b01(?:5\d|6[023]|7\d)\d{{7,8}}{_END}"
    rf"|(?:{_SIGN})\(?0[1-9]{_INNER}{{4,10}}\d{_END}"
)
# Countries' own shapes, without their ends.
_NATIONAL = (
    r"\b0[1-9](?:[ .\-\x{A0}]\d\d){4}",
    rf"\(0[1-9]\){_GAP}{{0,2}}\d{{3,4}}{_GAP}?\d{{4}}",
    rf"\b0[1-9]{_GAP}\d{{3,4}}{_GAP}\d{{4}}",
    r"\b0[1-9]-\d{8}",
    rf"\([1-9]\d\){_GAP}{{0,2}}\d{{4,5}}{_GAP}?\d{{4}}",
    rf"\b1[3-9]\d{_GAP}\d{{4}}{_GAP}\d{{4}}",
    r"\b[1-9]\d 9\d{4}-\d{4}",
    r"\b8[ \-]?(?:\(\d{3}\)|\d{3})[ \-]?\d{3}[ \-]\d\d-?\d\d",  # Russia
    r"\(?\b06\)?-?\d{1,2}/\d{3}[ \-]\d{3,4}",  # Hungary
    r"\([2-9]\d\)/\d{3}-\d{3,4}",
    r"\b[2-9]\d/\d{3} [3-9]\d{3}",
    r"\b[49]\d\d \d\d \d{3}",  # Norway's mobile numbers
    r"\b[2-9]\d\d\.\d{3}\.\d{4}",  # dots
    r"\b0[1-9]\d{0,2}-\d{2,3} \d{2,3} \d\d",  # Sweden
    r"\b0[1-9]\d?[ \-]\d{6,7}",
    r"\b0\d\d \d{3} \d{4}",  # New Zealand, Italy, Turkey
    r"\b[1-9]\d (?:0\d|2[1-9]|[3-9]\d)\d\d-\d{4}",  # Brazil, whose numbers are no years
    r"\([2-9]\d\d\) ?\d{3} ?\d{3} ?\d{3}",  # Portugal
)
_ABROAD = rf"\b00 ?[1-9]\d{{0,2}}{_GAP}{{1,3}}\(?\d"
_PHONE_GENERIC = "|".join(
    (
        rf"\(?\+[(]?[1-9]{_INNER}{{6,14}}\d{_END}",
        rf"{_ABROAD}{_INNER}{{5,12}}\d{_END}",
        *(shape + _END for shape in _NATIONAL),
        rf"(?:{_SIGN})\+?\(?\d{_INNER}{{4,13}}\d{_END}",
    )
)
_PHONE_BEFORE_WORD = rf"\(?\b\d{_INNER}{{5,12}}\d{_BEHIND}"
PHONE_GENERIC = f"{_PHONE_GENERIC}|{_PHONE_BEFORE_WORD}"
# The last seven of its digits. Seven more may stand before them, each after five characters of three bytes.
PHONE_GENERIC_SPLIT = SplitPattern(_PHONE_GENERIC, _PHONE_BEFORE_WORD, rf"\d{_INNER}{{6}}{_BEHIND}", 128)

# Simpler patterns that match wherever these do: their beginnings.
PHONE_DE_OUTLINE = (
    rf"(?:\(?\+49\)?|\b00 ?49){_GAP}{{0,3}}(?:\(0\))?{_INNER}{{6}}"
    rf"|(?:\(0[1-9]\d{{1,4}}\){_GAP}{{0,3}}|\b0[1-9]\d{{1,4}}{_GAP}{{1,3}})\d\d"
    rf"|\b01(?:5\d|6[023]|7\d)\d{{7}}|(?:{_SIGN})\(?0[1-9]{_INNER}{{5}}"
)
PHONE_GENERIC_OUTLINE = "|".join(
    (
        rf"\+[(]?[1-9]{_INNER}{{7}}",
        rf"{_ABROAD}{_INNER}{{5}}",
        *_NATIONAL,
        rf"(?:{_SIGN})\+?\(?\d{_INNER}{{5}}",
        rf"\d{_INNER}{{6}}{_BEHIND}",
    )
)
# Six digits with something between two of them, from any of them on, so that for each place one number tells the state;
# or digits behind a plus, behind a telephone's word or before one.
_BETWEEN = rf"(?:{_GAP}|[()])"
_SIX = "|".join(rf"\d{{{first}}}{_BETWEEN}{{1,5}}\d(?:{_BETWEEN}{{0,5}}\d){{{5 - first}}}" for first in range(1, 6))
PHONE_HINT = rf"{_SIX}|\+[(]?[1-9]{_INNER}{{7}}|(?:{_SIGN})\+?\(?\d{_INNER}{{5}}|\d{_INNER}{{6}}{_BEHIND}"
