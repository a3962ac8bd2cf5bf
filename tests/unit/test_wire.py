"""Messages over pipes: what goes in comes out, and a broken pipe is an end, not an error."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fasthash import wire
from fasthash.fixity import Part, Result, Task, Unit

# What PostgreSQL's text can hold, and what a resolver may make of it.
texts = st.text(max_size=40)
tasks = st.builds(
    Task, texts, texts, st.none() | texts, st.none() | texts, st.none() | texts, st.none() | texts
)
parts = st.builds(
    Part,
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**31),
    st.none() | texts,
    texts,
    st.integers(0, 1000),
    st.binary(max_size=200),
    st.integers(0, 2**60),
)
results = st.builds(
    Result, texts, texts, st.none() | texts, texts, st.none() | st.binary(max_size=32)
)
units = st.builds(
    Unit,
    st.integers(0, 2**40),
    st.integers(0, 2**31),
    st.integers(0, 2**31),
    st.none() | texts,
    st.lists(tasks, max_size=10).map(tuple),
    st.booleans(),
)
messages = st.one_of(units, parts, results, tasks)


@given(st.lists(messages, max_size=8))
def test_messages_come_out_as_they_went_in(sent: list[Any]) -> None:
    pipe = io.BytesIO()
    for message in sent:
        wire.write(pipe, message)
    pipe.seek(0)
    got = []
    while (message := wire.read(pipe)) is not None:
        got.append(message)
    assert got == sent
    assert [type(m) for m in got] == [type(m) for m in sent]


@given(messages)
def test_packing_is_the_length_then_the_body(message: Any) -> None:
    packed = wire.pack(message)
    head, body = packed[: wire.LENGTH.size], packed[wire.LENGTH.size :]
    assert wire.LENGTH.unpack(head)[0] == len(body)
    assert wire.unpack(body) == message
    assert wire.dump(message) == body


@given(messages, st.data())
def test_a_message_cut_anywhere_is_an_end(message: Any, data: st.DataObject) -> None:
    packed = wire.pack(message)
    at = data.draw(st.integers(0, len(packed) - 1))
    assert wire.read(io.BytesIO(packed[:at])) is None


def test_a_message_larger_than_the_pipe_arrives_whole() -> None:
    source, sink = os.pipe()
    message = Part(1, 1, 1, None, "x", 1, os.urandom(3_000_000), 0)

    def send() -> None:
        with os.fdopen(sink, "wb") as file:
            wire.write(file, message)

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(source, "rb") as file:
        assert wire.read(file) == message
        assert wire.read(file) is None
    sender.join()
