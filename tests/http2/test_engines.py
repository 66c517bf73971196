"""Both engines behind one interface: the same events, and the same frames once their field blocks are decoded."""

from __future__ import annotations

import collections
import random

import pytest

from tests.http2.breaks import draw
from tests.http2.frames import Kind, describe
from tests.http2.serving import Serving, pieces

CONVERSATIONS = 4000
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_both_engines_serve_alike(part: int) -> None:
    """Each conversation is sent in pieces of any length, answered in many ways, and ended by the server."""
    chance = random.Random(part)
    sent: collections.Counter[object] = collections.Counter()
    for _ in range(CONVERSATIONS // PARTS):
        octets = draw(chance)
        cuts = pieces(octets, chance.choices(range(len(octets) + 1), k=chance.choice([0, 0, 1, 4])))
        turn = chance.randrange(9)
        native, library = Serving("native", turn), Serving("h2", turn)
        for piece in cuts:
            native.receive(piece)
            library.receive(piece)
            assert library.state == native.state, describe(octets)
        native.leave()
        library.leave()
        assert library.events == native.events, describe(octets)
        assert library.frames == native.frames, describe(octets)
        assert library.state == native.state, describe(octets)
        sent.update(frame[0] for frame in native.frames)
    for kind in {*Kind} - {Kind.PRIORITY, Kind.CONTINUATION, Kind.WINDOW_UPDATE}:
        assert sent[kind] > 10, sent
    assert sent[Kind.WINDOW_UPDATE] >= CONVERSATIONS / PARTS, sent
