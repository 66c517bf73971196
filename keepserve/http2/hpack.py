"""HPACK decoding (RFC 7541): from the header blocks of one connection to lists of fields.

Balancers send nearly the same fields with every request, as one octet each. So a field is judged
when it enters a table, not when it is used: the tables hold entries that carry what the engine
wants to know, and a field that is in a table costs one look at it, whatever it means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from keepserve.http2.huffman import HuffmanFault
from keepserve.http2.huffman import decode as decode_huffman
from keepserve.http2.static_table import STATIC_FIELDS
from keepserve.wire.fields import remember

Field = tuple[bytes, bytes]
Entry = tuple[Field, int, int]
"""A decoded field: name and value; its size (RFC 7541 §4.1); what it means to us (0: nothing special)."""

DEFAULT_TABLE_SIZE = 4096
"""SETTINGS_HEADER_TABLE_SIZE of a connection that has not said otherwise (RFC 9113 §6.5.2)."""

DYNAMIC = len(STATIC_FIELDS) + 1
"""Where the indices of the dynamic table begin: 62."""

PSEUDO_FIELDS = 5
"""How many pseudo-fields may have a meaning of their own: -1 to -5. One of -6 is out of place wherever it stands."""

# By meaning, counted from the end. The last of them is taken from the beginning, so that nothing more may come there.
_BLANK: list[bytes | None] = [b"", *[None] * PSEUDO_FIELDS]

HARD_FACTOR = 4
"""How many times the limit a list of fields may be before decoding on is not worth it."""


class CompressionFault(Exception):
    """The block cannot be decoded: COMPRESSION_ERROR of the connection. ``args[0]`` is a sentence."""


class ListTooLarge(Exception):
    """The fields are so far beyond the limit that decoding on is not worth it. ``args[0]`` is a sentence."""


class Vocabulary:
    """What fields mean to an engine, and the literals seen most lately; one for all connections of a worker.

    ``classify`` takes a name and a value and tells what the field means: 0 is nothing special, pseudo-fields are
    negative (``PSEUDO_FIELDS``), and what else there is are bits for the engine to define. It is asked once for
    each field that comes as a literal, not when it comes again from a table.
    """

    __slots__ = ("classify", "literals", "static")

    def __init__(self, classify: Callable[[bytes, bytes], int]) -> None:
        self.classify = classify
        self.static: tuple[Entry, ...] = (((b"", b""), 0, 0), *(self.entry(*field) for field in STATIC_FIELDS))
        """The static table (RFC 7541, Appendix A) by index; 0 is no index and its entry is never used."""
        self.literals: dict[bytes, Entry] = {}
        """Literals by their octets on the wire, which mean the same on every connection: at most 1024 are kept."""

    def entry(self, name: bytes, value: bytes) -> Entry:
        """Make the entry of a field."""
        return (name, value), len(name) + len(value) + 32, self.classify(name, value)


class Decoded:
    """A decoded block. Only ``Decoder.decode`` and ``gather`` make one."""

    __slots__ = ("fields", "late", "meanings", "odd", "pseudo", "size")

    fields: list[Field]
    """The fields, in order, but for the pseudo-fields."""
    meanings: int
    """What these fields mean, together."""
    pseudo: list[bytes | None]
    """The values of the pseudo-fields, by their meaning: ``pseudo[-1]`` is that of the one that means -1."""
    odd: Field | None
    """The first pseudo-field that stood there before, or is in its place nowhere (RFC 9113 §8.3)."""
    size: int
    """Size of the whole list (RFC 9113 §6.5.2), also where that is over the limit and not all of it is here."""
    late: bool
    """A pseudo-field stood behind an ordinary field (RFC 9113 §8.3)."""

    @property
    def has_pseudo(self) -> bool:
        """There was any pseudo-field."""
        return self.pseudo != _BLANK or self.odd is not None

    def __repr__(self) -> str:
        return f"<Decoded {self.pseudo[1:]!r} {self.fields!r} {self.meanings} {self.odd!r} {self.size} {self.late}>"


def gather(entries: Iterable[Entry], max_list_size: int) -> Decoded:
    """Return what ``Decoder.decode`` makes of these fields, for those that another decoder has decoded."""
    decoded = Decoded()
    decoded.fields, decoded.meanings, decoded.size, decoded.late = [], 0, 0, False
    decoded.pseudo, decoded.odd = _BLANK.copy(), None
    for entry in entries:
        field, cost, meaning = entry
        decoded.size += cost
        if decoded.size > max_list_size:
            continue
        if meaning >= 0:
            decoded.fields.append(field)
            decoded.meanings |= meaning
            continue
        decoded.late = decoded.late or bool(decoded.fields)
        if decoded.pseudo[meaning] is None:
            decoded.pseudo[meaning] = field[1]
        else:
            decoded.odd = decoded.odd or field
    return decoded


class Decoder:
    """The decoding context of one connection (RFC 7541 §2.2).

    ``max_table_size`` is the size of the dynamic table in octets, as our settings announce it: the
    table begins with it, and the peer may make it smaller and as large again.

    Memory: about 600 octets at first, and 10 KiB when full of usual fields. The smallest of fields
    cost most, in relation: a table of 4096 octets cannot take more than 20 KiB.

    Once ``decode`` has raised, the context is out of step with the peer's, and the connection has to end.
    """

    __slots__ = ("_max_table_size", "_table", "_table_size", "_table_used", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary, max_table_size: int = DEFAULT_TABLE_SIZE) -> None:
        self._vocabulary = vocabulary
        self._max_table_size = max_table_size
        # Both tables in one (§2.3.3): the static one, then the entries of this connection from the newest on.
        self._table: list[Entry] = list(vocabulary.static)
        self._table_size = max_table_size
        self._table_used = 0

    @property
    def dynamic(self) -> list[Field]:
        """The fields of the dynamic table, the newest first, as RFC 7541 writes them down: for tests and people."""
        return [field for field, _, _ in self._table[DYNAMIC:]]

    def decode(self, block: bytes, max_list_size: int) -> Decoded:
        """Decode a whole header block.

        What is beyond ``max_list_size`` (RFC 9113 §6.5.2) is decoded, for the table must stay in
        step with the peer's (RFC 9113 §4.3), but not kept. Raises ``CompressionFault`` for a block
        that breaks RFC 7541, and ``ListTooLarge`` beyond four times ``max_list_size``.
        """
        # The hottest loop of the server: no call for an indexed field, none but built-in ones for a known literal.
        vocabulary = self._vocabulary
        literals = vocabulary.literals
        table = self._table
        fields: list[Field] = []
        pseudo = _BLANK.copy()
        odd: Field | None = None
        late = False
        meanings = 0
        size = 0
        updates = 0
        end = len(block)
        # An iterator hands out octets much faster than ``block[position]``. It knows its position and can be moved,
        # by the two methods it has for being copied.
        octets: Any = iter(block)
        try:
            for octet in octets:
                if octet > 0x80:  # an indexed field (§6.1)
                    if octet < 0xFF:
                        entry = table[octet - 0x80]
                    else:
                        index, position = _integer(block, end - octets.__length_hint__() - 1, 0x7F)
                        entry = table[index]
                        octets.__setstate__(position)
                elif octet == 0x80:
                    raise CompressionFault("an indexed field needs an index from 1 up, and this one has 0")
                else:
                    position = end - octets.__length_hint__()
                    start = position - 1
                    if octet >= 0x40:  # a literal to be put into the table (§6.2.1)
                        index = octet & 0x3F
                        if index == 0x3F:
                            more = block[position]
                            if more < 0x80:  # spelt out: every name in the dynamic table has two octets
                                index += more
                                position += 1
                            else:
                                index, position = _integer(block, start, 0x3F)
                    elif octet < 0x20:  # a literal for this once (§6.2.2), or for no table ever (§6.2.3)
                        index = octet & 0x0F
                        if index == 0x0F:
                            more = block[position]
                            if more < 0x80:
                                index += more
                                position += 1
                            else:
                                index, position = _integer(block, start, 0x0F)
                    else:
                        updates += 1
                        octets.__setstate__(self._resize(block, start, size, updates))
                        continue
                    name_at = position
                    if index == 0:
                        length = block[position] & 0x7F
                        position += 1
                        if length == 0x7F:
                            length, position = _integer(block, name_at, 0x7F)
                        position += length
                    octet_of_length = block[position]
                    length = octet_of_length & 0x7F
                    position += 1
                    if length == 0x7F:
                        length, position = _integer(block, position - 1, 0x7F)
                    value_at = position
                    position += length
                    if position > end:
                        raise IndexError
                    octets.__setstate__(position)
                    known = None
                    if index < DYNAMIC:  # these octets mean the same on every connection
                        literal = block[start:position]
                        known = literals.get(literal)
                    if known is None:
                        value = block[value_at:position]
                        if octet_of_length > 0x7F:
                            value = decode_huffman(value)
                        name = table[index][0][0] if index else _string(block, name_at)
                        entry = (name, value), len(name) + len(value) + 32, vocabulary.classify(name, value)
                        if index < DYNAMIC:
                            remember(literals, literal, entry, position - start)
                    else:
                        entry = known
                    if octet >= 0x40:
                        table.insert(DYNAMIC, entry)
                        used = self._table_used + entry[1]
                        while used > self._table_size:  # an entry too large for the table empties it (§4.4)
                            used -= table.pop()[1]
                        self._table_used = used
                field, cost, meaning = entry
                size += cost
                if size > max_list_size:
                    if size > HARD_FACTOR * max_list_size:
                        raise ListTooLarge(
                            f"the fields of a message may have {max_list_size} octets, and these have {size} and more"
                        )
                elif not meaning:
                    fields.append(field)
                elif meaning > 0:
                    meanings |= meaning
                    fields.append(field)
                else:
                    if pseudo[meaning] is None:
                        pseudo[meaning] = field[1]
                    elif odd is None:
                        odd = field
                    if fields:
                        late = True
        except IndexError as fault:
            raise CompressionFault(
                f"a field ends within its block and names an index up to {len(table) - 1}, and this one does not"
            ) from fault
        except HuffmanFault as fault:
            raise CompressionFault(*fault.args) from fault
        decoded = Decoded()
        decoded.fields = fields
        decoded.meanings = meanings
        decoded.pseudo = pseudo
        decoded.odd = odd
        decoded.size = size
        decoded.late = late
        return decoded

    def _resize(self, block: bytes, start: int, size: int, updates: int) -> int:
        """Obey a table size update (RFC 7541 §6.3), the block's ``updates``-th, and return where it ends.

        ``size`` is that of the fields in front of it.
        """
        if size or updates > 2:  # §4.2: to the smallest size there was meanwhile, then to the present one
            raise CompressionFault("the size of the table may change up to twice, and in front of all fields")
        self._table_size, position = _integer(block, start, 0x1F)
        if self._table_size > self._max_table_size:
            raise CompressionFault(
                f"the table may have {self._max_table_size} octets at most, and was to have {self._table_size}"
            )
        while self._table_used > self._table_size:
            self._table_used -= self._table.pop()[1]
        return position


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """Read an integer whose prefix, ``prefix`` at the most, is in ``block[position]`` (RFC 7541 §5.1)."""
    value = block[position] & prefix
    position += 1
    if value < prefix:
        return value, position
    for shift in range(0, 35, 7):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            if value > 2**31:
                break
            return value, position
    raise CompressionFault("an integer may have five octets behind its prefix and be 2147483648 at most")


def _string(block: bytes, start: int) -> bytes:
    """Decode the string that begins with its length at ``block[start]`` (RFC 7541 §5.2)."""
    length, position = _integer(block, start, 0x7F)
    octets = block[position : position + length]
    return decode_huffman(octets) if block[start] > 0x7F else octets
