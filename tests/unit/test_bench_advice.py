"""What trials say: which settings, and which limit."""

from __future__ import annotations

from dataclasses import replace

from fasthash.bench.advice import Found, advise, best
from fasthash.bench.trial import Rate, Trial


def rate(mb_per_s: float, *, busy: float = 1.0, mean_bytes: float = 8_000) -> Rate:
    return Rate(mb_per_s * 1e6 / mean_bytes, mb_per_s * 1e6, busy)


WARM = Found(
    mean_bytes=8_000,
    digest_one=rate(2_000),
    digest_all=rate(4_000),
    sweep={Trial(1): rate(700), Trial(2): rate(1_350), Trial(4): rate(1_380)},
    readers={},
    is_cold=False,
    other_state=None,
    database_rows_per_s=None,
)


def test_more_workers_have_to_be_clearly_better() -> None:
    assert best(WARM.sweep, Trial(1)) == Trial(2)
    assert advise(WARM).workers == 2
    assert best({Trial(2): rate(10), Trial(1): rate(10)}, Trial(1)) == Trial(1)


def test_the_limit_is_named() -> None:
    assert advise(WARM).limit == "files"
    at_the_limit = {Trial(1): rate(2_000), Trial(2): rate(3_900)}
    assert advise(replace(WARM, sweep=at_the_limit)).limit == "sha"
    waiting = {Trial(1): rate(100, busy=0.2), Trial(2): rate(190, busy=0.2)}
    cold = advise(replace(WARM, sweep=waiting, is_cold=True))
    assert cold.limit == "disk"
    assert "80%" in cold.reason


def test_a_slow_database_is_the_limit() -> None:
    advice = advise(replace(WARM, database_rows_per_s=20_000.0))
    assert advice.limit == "database"
    assert advice.rows_per_s == 20_000
    assert round(advice.bytes_per_s) == 160_000_000
    assert advise(replace(WARM, database_rows_per_s=1e9)).limit == "files"


def test_another_reader_has_to_be_clearly_better() -> None:
    usual, large, mapped = Trial(2), Trial(2, 1 << 20), Trial(2, reader="mmap")
    near = {usual: rate(3_000), large: rate(3_100), mapped: rate(3_150)}
    assert (advise(replace(WARM, readers=near)).reader) == "readinto"
    far = near | {mapped: rate(3_500)}
    advice = advise(replace(WARM, readers=far))
    assert (advice.reader, advice.chunk_bytes) == ("mmap", 256 * 1024)
    far = near | {large: rate(3_500)}
    advice = advise(replace(WARM, readers=far))
    assert (advice.reader, advice.chunk_bytes) == ("readinto", 1 << 20)
