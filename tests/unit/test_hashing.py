"""Digests: the published examples, and the same digest however the bytes come."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.hashing import ONLY_SHA256, Algorithms, Stream, digests

# FIPS 180-2, appendix B, and the empty message.
EXAMPLES = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
}


def test_published_examples() -> None:
    for message, digest in EXAMPLES.items():
        stream = Stream()
        stream.update(message)
        assert stream.digests().sha256 == digests(message, ONLY_SHA256).sha256
        assert (stream.digests().sha256 or b"").hex() == digest


# https://github.com/BLAKE3-team/BLAKE3, test_vectors.json, and the xxHash repository's sanity test:
# of the empty message.
EMPTY_BLAKE3 = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
EMPTY_XXH3_128 = "99aa06d3014798d86001c324468d497f"


def test_published_examples_of_the_others() -> None:
    _, blake3, xxh3 = digests(b"", Algorithms(blake3=True, xxh3=True))
    assert blake3 is not None
    assert xxh3 is not None
    assert (blake3.hex(), xxh3.hex()) == (EMPTY_BLAKE3, EMPTY_XXH3_128)


@given(st.lists(st.binary(max_size=200), max_size=20), st.tuples(*[st.booleans()] * 3))
def test_pieces_give_the_digests_of_the_whole(
    pieces: list[bytes], wanted: tuple[bool, ...]
) -> None:
    algorithms = Algorithms(*wanted)
    stream = Stream(algorithms)
    for piece in pieces:
        stream.update(memoryview(piece))
    whole = b"".join(pieces)
    assert stream.digests() == digests(whole, algorithms)
    assert tuple(d is not None for d in stream.digests()) == wanted
    assert stream.digests().sha256 in (None, hashlib.sha256(whole).digest())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    stream = Stream()
    stream.update(kind(b"abc"))
    assert (stream.digests().sha256 or b"").hex() == EXAMPLES[b"abc"]
