"""Keccak-256 as Ethereum uses it (the padding before FIPS 202), for the letters' case in its addresses (EIP-55)."""

from __future__ import annotations

_RATE_BYTES, _LANE_BITS, _ROUNDS = 136, 64, 24
_ALL_BITS = (1 << _LANE_BITS) - 1


def keccak_256(data: bytes) -> bytes:
    """The hash of less than 136 bytes, which is one block."""
    assert len(data) < _RATE_BYTES
    block = bytearray(data.ljust(_RATE_BYTES, b"\0"))
    block[len(data)] ^= 0x01
    block[-1] ^= 0x80
    state = [[0] * 5 for _ in range(5)]
    for index in range(_RATE_BYTES // 8):
        state[index % 5][index // 5] = int.from_bytes(block[8 * index : 8 * index + 8], "little")
    state = _permute(state)
    return b"".join(state[index % 5][index // 5].to_bytes(8, "little") for index in range(4))


def _permute(lanes: list[list[int]]) -> list[list[int]]:
    register = 1
    for _ in range(_ROUNDS):
        columns = [lane[0] ^ lane[1] ^ lane[2] ^ lane[3] ^ lane[4] for lane in lanes]
        turned = [columns[x - 1] ^ _rotate(columns[(x + 1) % 5], 1) for x in range(5)]
        lanes = [[lanes[x][y] ^ turned[x] for y in range(5)] for x in range(5)]
        x, y, current = 1, 0, lanes[1][0]
        for step in range(_ROUNDS):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], _rotate(current, (step + 1) * (step + 2) // 2)
        for y in range(5):
            row = [lanes[x][y] for x in range(5)]
            for x in range(5):
                lanes[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        for bit in range(7):
            register = ((register << 1) ^ ((register >> 7) * 0x71)) % 256
            if register & 2:
                lanes[0][0] ^= 1 << ((1 << bit) - 1)
    return lanes


def _rotate(lane: int, bits: int) -> int:
    bits %= _LANE_BITS
    return ((lane << bits) | (lane >> (_LANE_BITS - bits))) & _ALL_BITS
