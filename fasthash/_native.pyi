from collections.abc import Sequence
from typing import Any

def read_and_hash(
    root: bytes,
    root_numbers: tuple[int, int],
    names: Sequence[bytes | None],
    slot: Any,
    first: int,
    limits: tuple[int, int, int],
    arena: bytearray,
    wanted: int,
    /,
) -> list[tuple[bytes | None, int, int, int, bytes, bytes | None] | None] | None: ...
def hash_messages(messages: list[bytes], /) -> list[bytes]: ...
def hash_blocks(
    state: bytearray, blocks: Any, other_state: bytearray, other_blocks: Any, /
) -> None: ...
