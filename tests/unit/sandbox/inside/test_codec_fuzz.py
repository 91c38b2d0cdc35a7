"""Mutated frames give a value or our exception, whatever they are, in bounded memory."""

from __future__ import annotations

import json
import random
import sys

import pytest

from tests.support.course import REPOSITORY
from tests.support.programs import printed_by
from tests.unit.sandbox.inside import codec_fuzz

_SHARDS = 20
_EACH = 500_000
"""10^7 together; 500,000 take about half a minute of an idle processor."""
_MOST_GROWN = 256
"""MiB. A frame of these is at most 8 kB; the largest array of an allowed shape is 64 MiB."""


@pytest.mark.full
def test_20000_mutated_frames_give_a_value_or_our_exception() -> None:
    outcome = codec_fuzz.run(1, 20_000)
    assert outcome.decoded > 1000  # they reach what is behind the checks
    assert outcome.refused > 5000
    assert outcome.broken > 1000


@pytest.mark.full
def test_mutated_frames_are_decoded_in_bounded_memory() -> None:
    _shard(2, 20_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(_SHARDS))
def test_ten_million_mutated_frames_give_a_value_or_our_exception(
    shard: int, chance: random.Random
) -> None:
    _shard(chance.getrandbits(32) + shard, _EACH)


def _shard(seed: int, count: int) -> None:
    """Run in a process of its own whose address space can grow by 512 MiB."""
    module = "tests.unit.sandbox.inside.codec_fuzz"
    print("seed", seed)
    command = (sys.executable, "-m", module, seed, count, 512)
    told = json.loads(printed_by(*command, seconds=1800, cwd=REPOSITORY))
    assert told["decoded"] + told["refused"] + told["broken"] == count
    assert told["grown_mib"] < _MOST_GROWN
