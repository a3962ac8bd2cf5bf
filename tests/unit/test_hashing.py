"""Digests: the published examples, and the same digest however the bytes come."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.hashing import Sha256Stream, digest_many

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
    assert [d.hex() for d in digest_many(list(EXAMPLES))] == list(EXAMPLES.values())
    for message, digest in EXAMPLES.items():
        stream = Sha256Stream()
        stream.update(message)
        assert stream.digest().hex() == digest


def test_no_buffers_no_digests() -> None:
    assert digest_many([]) == []


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_group_gives_each_its_own_digest_in_order(buffers: list[bytes]) -> None:
    assert digest_many(buffers) == [hashlib.sha256(b).digest() for b in buffers]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_pieces_give_the_digest_of_the_whole(pieces: list[bytes]) -> None:
    stream = Sha256Stream()
    for piece in pieces:
        stream.update(memoryview(piece))
    assert stream.digest() == hashlib.sha256(b"".join(pieces)).digest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    stream = Sha256Stream()
    stream.update(kind(b"abc"))
    assert stream.digest().hex() == EXAMPLES[b"abc"]
