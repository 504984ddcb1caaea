"""The grid that weights are put on: whole numbers from -steps to steps, with one step size for a channel or for a layer."""

from __future__ import annotations

LEAST_BITS, MOST_BITS = 2, 8
NARROW_BITS = 7
"""What an x86 without VNNI can take: it adds two products of u8 and s8 in 16 bits, which 8 bits overflow (vpmaddubsw)."""


def narrowed(asked: int, narrow: bool) -> tuple[int, dict[str, int]]:
    """The bits that weights get of those asked for, and what the facts of a file say of them."""
    bits = min(asked, NARROW_BITS if narrow else MOST_BITS)
    return bits, {"weight_bits": bits, **({"weight_bits_asked": asked} if bits < asked else {})}


def steps(bits: int) -> int:
    """The greatest whole number of a symmetric grid of so many bits: 127 of 8, 63 of 7, 1 of 2.

    The file keeps a byte for each weight, whatever its bits.
    """
    return int(2 ** (bits - 1)) - 1
