"""The lengths of telephone numbers, by country.

Source: ITU-T E.164 and the national plans as libphonenumber's metadata gives them (Apache-2.0; read 2026-11): the
fewest and the most digits after the country's code, for people's numbers. Short numbers of services, and nearly unused
lengths, are left out. Argentina: mobile numbers of Buenos Aires are also written without its 11 (+54 9 3809 1604).
"""

from __future__ import annotations

_LENGTHS = (
    "1:10-10 7:10-10 20:8-10 27:9-9 30:10-12 31:9-11 32:8-9 33:9-9 34:9-9 36:8-9 39:6-12 40:9-9 41:9-9 43:5-12"
    " 44:9-10 45:8-8 46:7-10 47:8-8 48:9-9 49:6-12 51:8-9 52:10-10 53:8-8 54:9-11 55:10-11 56:9-11 57:8-10 58:10-10"
    " 60:8-10 61:9-10 62:8-12 63:8-12 64:8-10 65:8-11 66:8-10 81:9-10 82:8-11 84:9-10 86:10-11 90:10-10 91:10-11"
    " 92:9-10 93:9-9 94:9-9 95:7-10 98:10-10 211:9-9 212:9-9 213:8-9 216:8-8 218:9-9 220:7-9 221:9-9 222:8-8 223:8-8"
    " 224:8-9 225:10-10 226:8-8 227:8-8 228:8-8 229:8-10 230:7-10 231:7-9 232:8-8 233:9-9 234:8-10 235:8-8 236:8-8"
    " 237:9-9 238:7-7 239:7-7 240:9-9 241:7-8 242:9-9 243:7-9 244:9-9 245:7-9 248:7-7 249:9-9 250:9-9 251:9-9"
    " 252:7-9 253:8-8 254:9-10 255:9-9 256:9-9 257:8-8 258:8-9 260:9-9 261:9-9 262:9-9 263:8-10 264:8-9 265:7-9"
    " 266:8-8 267:7-10 268:8-9 269:7-7 291:7-7 297:7-7 298:6-6 299:6-6 350:8-8 351:9-9 352:6-11 353:8-9 354:7-9"
    " 355:8-9 356:8-8 357:8-8 358:6-10 359:7-9 370:8-8 371:8-8 372:7-8 373:8-8 374:8-8 375:9-10 376:6-9 377:8-9"
    " 378:8-10 380:9-9 381:8-10 382:8-9 383:8-9 385:8-9 386:8-8 387:8-9 389:8-8 420:9-9 421:9-9 423:7-9 501:7-7"
    " 502:8-8 503:8-8 504:8-8 505:8-8 506:8-8 507:7-8 508:6-9 509:8-8 590:9-9 591:8-9 592:7-7 593:8-9 594:9-9"
    " 595:8-9 596:9-9 597:6-7 598:8-8 599:7-8 670:7-8 673:7-7 674:7-7 675:7-8 676:7-7 677:7-7 678:7-7 679:7-7"
    " 680:7-7 685:7-7 687:6-6 689:8-8 691:7-7 692:7-7 850:8-10 852:8-8 853:8-8 855:8-9 856:8-10 880:8-10 886:8-9"
    " 960:7-7 961:7-8 962:8-9 963:8-9 964:8-10 965:8-8 966:9-9 967:7-9 968:8-8 970:8-9 971:8-9 972:8-9 973:8-8"
    " 974:8-8 975:7-8 976:8-8 977:8-10 992:9-9 993:8-8 994:9-9 995:9-9 996:9-9 998:9-9"
)


def _read() -> dict[bytes, tuple[int, int]]:
    plans = {}
    for entry in _LENGTHS.split():
        code, lengths = entry.split(":")
        least, most = lengths.split("-")
        plans[code.encode()] = int(least), int(most)
    return plans


_PLANS = _read()


def national_lengths(digits: bytes) -> tuple[int, int, int] | None:
    """(digits of the country's code, fewest and most digits after it); None if the digits begin with no country's
    code."""
    for width in (1, 2, 3):
        plan = _PLANS.get(digits[:width])
        if plan is not None:
            return width, *plan
    return None
