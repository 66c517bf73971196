"""The examples of RFC 7541, Appendix C.2 to C.6: the fields, and what is in the table after each block."""

from __future__ import annotations

import pytest

from keepserve.http2.hpack import Field
from tests.http2.blocks import ENOUGH, all_fields, new, size_of

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
KEPT_1 = [(b":authority", b"www.example.com")]
KEPT_2 = [(b"cache-control", b"no-cache"), *KEPT_1]
KEPT_3 = [(b"custom-key", b"custom-value"), *KEPT_2]
GET_3 = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
DATE_1, DATE_3 = b"Mon, 21 Oct 2013 20:13:21 GMT", b"Mon, 21 Oct 2013 20:13:22 GMT"
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
FOUND = [(b":status", b"302"), PRIVATE, (b"date", DATE_1), LOCATION]
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
RESPONSES = [
    (FOUND, FOUND[::-1], 222),
    ([(b":status", b"307"), *FOUND[1:]], [(b":status", b"307"), LOCATION, (b"date", DATE_1), PRIVATE], 222),
    (
        [(b":status", b"200"), PRIVATE, (b"date", DATE_3), LOCATION, (b"content-encoding", b"gzip"), COOKIE],
        [COOKIE, (b"content-encoding", b"gzip"), (b"date", DATE_3)],
        215,
    ),
]


@pytest.mark.parametrize(
    ("block", "fields", "kept", "kept_size"),
    [
        pytest.param(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            [(b"custom-key", b"custom-header")],
            [(b"custom-key", b"custom-header")],
            55,
            id="C.2.1",
        ),
        pytest.param("040c 2f73 616d 706c 652f 7061 7468", [(b":path", b"/sample/path")], [], 0, id="C.2.2"),
        pytest.param("1008 7061 7373 776f 7264 0673 6563 7265 74", [(b"password", b"secret")], [], 0, id="C.2.3"),
        pytest.param("82", [(b":method", b"GET")], [], 0, id="C.2.4"),
    ],
)
def test_field_examples(block: str, fields: list[Field], kept: list[Field], kept_size: int) -> None:
    decoder = new()
    assert all_fields(decoder.decode(bytes.fromhex(block), ENOUGH)) == fields
    assert decoder.dynamic == kept
    assert size_of(kept) == kept_size


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            id="C.3 plain",
        ),
        pytest.param(
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
            id="C.4 Huffman",
        ),
    ],
)
def test_request_examples(blocks: list[str]) -> None:
    decoder = new()
    requests = [(GET, KEPT_1, 57), ([*GET, (b"cache-control", b"no-cache")], KEPT_2, 110), (GET_3, KEPT_3, 164)]
    for block, (fields, kept, kept_size) in zip(blocks, requests, strict=True):
        decoded = decoder.decode(bytes.fromhex(block), ENOUGH)
        assert all_fields(decoded) == fields
        assert decoded.size == size_of(fields)
        assert decoder.dynamic == kept
        assert size_of(kept) == kept_size


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(
            [
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32"
                "3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "4803 3330 37c1 c0bf",
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970"
                "7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61"
                "6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            ],
            id="C.5 plain",
        ),
        pytest.param(
            [
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad"
                "1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                "4883 640e ffc1 c0bf",
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2"
                "e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            ],
            id="C.6 Huffman",
        ),
    ],
)
def test_response_examples_with_a_table_of_256_octets(blocks: list[str]) -> None:
    decoder = new(256)
    for block, (fields, kept, kept_size) in zip(blocks, RESPONSES, strict=True):
        assert all_fields(decoder.decode(bytes.fromhex(block), ENOUGH)) == fields
        assert decoder.dynamic == kept
        assert size_of(kept) == kept_size
