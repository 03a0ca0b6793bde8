"""Letters that look like Latin ones.

Source: Unicode's confusables.txt (UTS 39; read 2026-11): the single letters of Cyrillic, Greek, Armenian and IPA that
are drawn like a Latin letter in common fonts.
"""

from __future__ import annotations

from functools import cache

_LATIN = "abcdefghijklmnopqrstuvwxyz"
_CONFUSABLE = {
    "а": "a", "в": "b", "е": "e", "к": "k", "м": "m", "н": "h", "о": "o", "р": "p", "с": "c", "т": "t", "у": "y",
    "х": "x", "і": "i", "ј": "j", "ѕ": "s", "ԁ": "d", "ԛ": "q", "ԝ": "w", "һ": "h", "ӏ": "l", "ь": "b", "г": "r",
    "п": "n", "ё": "e", "ї": "i", "є": "e", "ґ": "r", "з": "3", "и": "u", "α": "a", "ο": "o", "ν": "v", "ρ": "p",
    "ε": "e", "ι": "i", "κ": "k", "τ": "t", "υ": "u", "χ": "x", "η": "n", "β": "b", "γ": "y", "σ": "o", "ϲ": "c",
    "ϳ": "j", "ω": "w", "օ": "o", "ո": "n", "ս": "u", "հ": "h", "ց": "g", "զ": "q", "ռ": "n", "յ": "j", "ք": "p",
}  # fmt: skip
# In any word: they have no use beside their own script, which is Latin.
_LATIN_KIN = {
    "ı": "i", "ɑ": "a", "ɡ": "g", "ɩ": "i", "ʟ": "l", "ʀ": "r", "ɪ": "i", "ɴ": "n", "ᴀ": "a", "ʙ": "b", "ᴄ": "c",
    "ᴅ": "d", "ᴇ": "e", "ꜰ": "f", "ɢ": "g", "ʜ": "h", "ᴊ": "j", "ᴋ": "k", "ᴍ": "m", "ᴏ": "o", "ᴘ": "p", "ꞯ": "q",
    "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w", "ʏ": "y", "ᴢ": "z",
}  # fmt: skip
# First code points of alphabets in circles and squares that have no compatibility form; the regional indicators.
_ENCLOSED = (0x1F150, 0x1F170, 0x1F1E6)


@cache
def confusable_letters() -> dict[int, str]:
    """Letters of other scripts, small and large, to Latin ones."""
    small = {**_CONFUSABLE, **_LATIN_KIN}
    large = {letter.upper(): latin.upper() for letter, latin in small.items() if len(letter.upper()) == 1}
    # Large letters whose likeness is another one than that of the small: В, Н, Р …
    large |= {"Ρ": "P", "Η": "H", "Ν": "N", "Υ": "Y", "Χ": "X", "Γ": "R", "И": "N", "З": "3"}
    return {ord(letter): latin for letter, latin in {**small, **large}.items() if not letter.isascii()}


def enclosed_letters() -> dict[int, str]:
    """Letters in black circles and squares, and those that make flags, to plain ones."""
    table = {first + index: letter for first in _ENCLOSED for index, letter in enumerate(_LATIN)}
    return table | {ord(letter): latin for letter, latin in _LATIN_KIN.items() if letter != "ı"}
