"""Patterns of candidates for telephone numbers: see phones.py, whose checks decide."""

from __future__ import annotations

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
    r"|телефон\w*|тел)[^0-9+]{1,32}|\b[TMFPtmfp]: ?"
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
PHONE_GENERIC = (
    rf"\(?\+[(]?[1-9]{_INNER}{{6,14}}\d{_END}"
    rf"|\b00 ?[1-9]\d{{0,2}}{_GAP}{{1,3}}\(?\d{_INNER}{{5,12}}\d{_END}"
    rf"|\b0[1-9](?:[ .\-\x{{A0}}]\d\d){{4}}{_END}"
    rf"|\(0[1-9]\){_GAP}{{0,2}}\d{{3,4}}{_GAP}?\d{{4}}{_END}|\b0[1-9]{_GAP}\d{{3,4}}{_GAP}\d{{4}}{_END}|\b0[1-9]-\d{{8}}{_END}"
    rf"|\([1-9]\d\){_GAP}{{0,2}}\d{{4,5}}{_GAP}?\d{{4}}{_END}"
    rf"|\b1[3-9]\d{_GAP}\d{{4}}{_GAP}\d{{4}}{_END}|\b[1-9]\d 9\d{{4}}-\d{{4}}{_END}"
    rf"|\b8[ \-]?(?:\(\d{{3}}\)|\d{{3}})[ \-]?\d{{3}}[ \-]\d\d-?\d\d{_END}"  # Russia
    rf"|\(?\b06\)?-?\d{{1,2}}/\d{{3}}[ \-]\d{{3,4}}{_END}"  # Hungary
    rf"|\([2-9]\d\)/\d{{3}}-\d{{3,4}}{_END}|\b[2-9]\d/\d{{3}} [3-9]\d{{3}}{_END}"
    rf"|\b[49]\d\d \d\d \d{{3}}{_END}|\b[2-9]\d\d\.\d{{3}}\.\d{{4}}{_END}"  # Norway's mobile numbers; dots
    rf"|\b0[1-9]\d{{0,2}}-\d{{2,3}} \d{{2,3}} \d\d{_END}"  # Sweden
    rf"|\b0[1-9]\d?[ \-]\d{{6,7}}{_END}|\b0\d\d \d{{3}} \d{{4}}{_END}"  # New Zealand, Italy, Turkey
    # Brazil, whose numbers are no years, and Portugal
    rf"|\b[1-9]\d (?:0\d|2[1-9]|[3-9]\d)\d\d-\d{{4}}{_END}|\([2-9]\d\d\) ?\d{{3}} ?\d{{3}} ?\d{{3}}{_END}"
    rf"|(?:{_SIGN})\+?\(?\d{_INNER}{{4,13}}\d{_END}"
    rf"|\(?\b\d{_INNER}{{5,12}}\d{_BEHIND}"
)
