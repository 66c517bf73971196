"""Huffman-coded strings of HPACK (RFC 7541 §5.2 and Appendix B), decoded an octet at a time.

The code is canonical: within a length, codes count up in the order of the symbols, and a longer
code goes on where the shorter ones ended. So the table below, symbols by the length of their
code, is all of Appendix B.

The decoder walks from row to row. A row stands for what is known of an unfinished code, and has,
for each octet that may come, the bytes that are then complete and the row to go on with. A row is
filled when it is first needed, which takes about 0.1 ms and 17 KiB: all of ASCII needs 99 of the
257, ordinary text fewer.
"""

from __future__ import annotations

_SYMBOLS = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf"
    b"\xc5\xe7\xef",
    24: b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
    b"\x7f\xdc\xf9",
    30: b"\x0a\x0d\x16",
}
"""Length of the code in bits -> its symbols. The one code left over, thirty ones, is EOS."""

_Row = list[tuple["_Row", bytes]]
_Branch = tuple["_Node", bytes]


class HuffmanFault(Exception):
    """The octets are no Huffman-coded string; ``args[0]`` is a sentence."""


class _Node:
    """An inner node of the code tree: where a 0 and where a 1 lead, and which byte, if any, is complete by that."""

    __slots__ = ("branches", "row")

    def __init__(self) -> None:
        self.branches: list[_Branch] = []
        self.row: _Row = []


def _grow() -> tuple[list[_Node], list[_Node]]:
    """Grow the tree. Returns all inner nodes, and those in which a string may end."""
    dead = _Node()  # behind EOS: nothing leads out, and no string may end there
    dead.branches = [(dead, b""), (dead, b"")]
    root = _Node()
    nodes, level, ends = [dead, root], [root], [root]
    for length in range(1, 31):
        symbols = _SYMBOLS.get(length, b"")
        leaves: list[_Branch] = [(root, symbols[at : at + 1]) for at in range(len(symbols))]
        if length == 30:
            leaves.append((dead, b""))
        inner = [_Node() for _ in range(2 * len(level) - len(leaves))]
        branches = [*leaves, *((node, b"") for node in inner)]
        for at, node in enumerate(level):
            node.branches = branches[2 * at : 2 * at + 2]
        nodes += inner
        level = inner
        if length < 8:
            ends.append(inner[-1])  # padding is up to seven ones, the start of EOS
    return nodes, ends


_NODES, _ENDS = _grow()
_START = _NODES[1].row
_MAY_END = frozenset(id(node.row) for node in _ENDS)  # rows live as long as this module


def _fill(row: _Row) -> None:
    """Work out a row: follow the eight bits of every octet, all of them at once."""
    node = next(node for node in _NODES if node.row is row)
    reached: list[_Branch] = [(node, b"")]
    for _ in range(8):
        reached = [(to, text + more) for node, text in reached for to, more in node.branches]
    row.extend((node.row, text) for node, text in reached)


_AT_ONCE = 1000
"""Octets decoded at once: a list of parts takes 8 bytes for each and ``join`` 80, which for a head of 64 KiB
would be 5 MB."""


def decode(coded: bytes) -> bytes:
    """Decode a string. Raises ``HuffmanFault`` for EOS in it and for any padding but up to seven ones."""
    row = _START
    text = b""
    for start in range(0, len(coded), _AT_ONCE):
        parts: list[bytes] = []
        for octet in coded[start : start + _AT_ONCE]:
            try:
                row, part = row[octet]
            except IndexError:
                _fill(row)
                row, part = row[octet]
            parts.append(part)
        text += b"".join(parts)
    if id(row) not in _MAY_END:
        raise HuffmanFault("a Huffman-coded string ends in at most seven bits of padding, all ones, and holds no EOS")
    return text
