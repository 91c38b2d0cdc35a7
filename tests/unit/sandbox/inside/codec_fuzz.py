"""Mutates frames and decodes them: ``python -m …codec_fuzz SEED COUNT MIB`` prints the outcome.

Three kinds of mutations: of a frame's bytes, of its tree, and of its buffers; the last two keep the
frame whole, so that they reach the decoder. One frame in thirty also tells what has changed of
objects that both ends have, which are refilled. Any exception that is not ours ends the program.
"""

from __future__ import annotations

import collections
import io
import json
import random
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.unit.sandbox.inside.codec import (
    FRAME,
    SAMPLES,
    FrameError,
    Undecodable,
    answer_server,
    packed,
    read_frame,
    rules,
    shared_objects,
    unpacked,
    value_decoder,
    value_encoder,
)

_NUMBERS = (0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64)
_TEXTS = (
    *("", "nan", "inf", "-", "0x1.0p+0", "<f8", "|b1", "<U3", "|O", "<M8[ns]", "Int64", "Datetime"),
    *("UTC", "Europe/Zurich", "D", "python", "ns", "csr_matrix", "function", "x" * 300, "\ud800"),
    *("l", "t", "d", "S", "@", "h", "np.a", "np.O", "np.g", "pd.d", "pd.i", "pd.c", "pl.s"),
    *("sp.c", "sy.e"),
)


@dataclass(slots=True)
class Outcome:
    """How many frames were decoded, and how many refused by either layer."""

    decoded: int = 0
    refused: int = 0
    broken: int = 0


class Thing:
    """An object of an author's plain class."""

    def __init__(self) -> None:
        self.lines, self.closed = ["a"], False


Thing.__module__ = "__main__"
_TABLE, _PLAIN = FRAME[["int", "text", "moment"]], pl.DataFrame({"a": [1, 2]})


def end_of_links() -> tuple[Any, list[Any]]:
    """Return one end of shared objects, and these."""
    inner = [1]
    given: list[Any] = [
        *(inner, [inner, [inner], {"a": inner}], {"b": 2}, {1, "x"}, bytearray(b"abc")),
        *(collections.deque([1, 2], 5), collections.Counter("ab"), np.arange(4), np.zeros((2, 2))),
        *(io.StringIO("text"), iter([1, 2, 3]), Thing(), _TABLE.copy(deep=False)),
        *(_TABLE["int"].copy(), _PLAIN.clone(), _PLAIN["a"].clone()),
    ]
    links = shared_objects.Links()
    for number, each in enumerate(given, 1):
        links.given(each, number)
    return links, given


def _changes() -> list[tuple[Any, list[bytes]]]:
    """Return the trees and buffers of answers that have changed shared objects."""
    found = []
    for value in (None, [1, [2]], SAMPLES[-1], _TABLE, np.arange(3)):
        links, given = end_of_links()
        given[0].append(given[0:3])
        given[2]["c"] = [given[7], {"d": 1}]
        given[3].add(2.5)
        given[4].extend(b"d")
        given[5].append(given[2])
        given[6].update("bc")
        given[7][0] = 9
        given[9].write("more")
        next(given[10])
        given[11].closed = given[0]
        given[12].insert(0, "new", 1.5)
        given[13].iloc[0] = 5
        given[14].replace_column(0, pl.Series("c", ["x", None]))
        numbers = [each for each in links.changed() if each != 1]  # which would refer to itself
        found.append(value_encoder.encode([value, *given[2:5]], _facts, links, numbers))
    return found


def _facts(value: object) -> Any:
    return answer_server.HandleTable().facts(value)


def refilled(data: bytes) -> None:
    """Do at the judge's end what a frame with changes tells."""
    frame = read_frame(data)
    if len(frame.head) != 1:
        raise Undecodable("not one tree")
    links, _ = end_of_links()
    tree, buffers = frame.head[0], frame.buffers
    _, changes = value_decoder.decode(tree, buffers, lambda facts: facts, links=links)
    for number, contents in changes.items():
        try:
            shared_objects.refill(links.get(number), contents)
        except (ValueError, TypeError, KeyError, BufferError):
            continue
        links.told(number)
    links.changed()


class Mutator:
    """Frames that are almost right; ``shares`` is whether the last one tells of changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.shares = False
        self._changes = _changes()
        encoded = [
            value_encoder.encode(each, answer_server.HandleTable().facts) for each in SAMPLES
        ]
        small = [packed(each) for each in SAMPLES]
        kept = [pair for pair, data in zip(encoded, small, strict=True) if len(data) < 8000]
        self._encoded = kept
        self._frames = [data for data in small if len(data) < 8000]
        self._subtrees = [each for tree, _ in kept for each in _nodes(tree)]

    def frame(self) -> bytes:
        """Return the next frame."""
        chance = self._random
        kind = chance.random()
        self.shares = chance.random() < 1 / 30
        if kind < 0.25 and not self.shares:
            return self._bytes(bytearray(chance.choice(self._frames)))
        tree, buffers = chance.choice(self._changes if self.shares else self._encoded)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            if buffers and kind > 0.7:
                buffers = self._buffers([bytearray(each) for each in buffers])
            else:
                tree = self._tree(tree)
        try:
            data: bytes = rules.pack([tree], buffers)
        except FrameError:  # a surrogate, for example
            return self._bytes(bytearray(chance.choice(self._frames)))
        return data

    def _bytes(self, data: bytearray) -> bytes:
        chance = self._random
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(len(data) + 1)
            action = chance.randrange(4)
            if action == 0 and place < len(data):
                data[place] = chance.randrange(256)
            elif action == 1 and place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            elif action == 2:
                del data[place : place + chance.randrange(1, 9)]
            else:
                data[place:place] = chance.randbytes(chance.randrange(1, 9))
        return bytes(data)

    def _buffers(self, buffers: list[bytearray]) -> list[bytearray]:
        chance = self._random
        index = chance.randrange(len(buffers))
        action = chance.randrange(5)
        if action == 0:
            buffers.pop(index)
        elif action == 1:
            buffers.insert(index, bytearray(chance.randbytes(chance.choice((0, 1, 8, 16)))))
        elif action == 2:
            chance.shuffle(buffers)
        else:
            buffers[index] = bytearray(self._bytes(buffers[index] or bytearray(8)))
        return buffers

    def _tree(self, tree: Any) -> Any:
        """Return a copy of the tree in which one node is another."""
        if type(tree) is not list or not tree or self._random.random() < 0.15:
            return self._leaf(tree)
        index = self._random.randrange(len(tree))
        changed = list(tree)
        action = self._random.random()
        if action < 0.05:
            del changed[index]
        elif action < 0.1:
            changed.insert(index, self._leaf(tree[index]))
        else:
            changed[index] = self._tree(tree[index])
        return changed

    def _leaf(self, tree: Any) -> Any:
        chance = self._random
        kind = chance.randrange(6)
        if kind == 0:
            return chance.choice(_NUMBERS)
        if kind == 1:
            return chance.choice(_TEXTS)
        if kind == 2:
            return chance.choice((None, True, False, []))
        if kind == 3 and type(tree) is str and tree:
            place = chance.randrange(len(tree))
            return tree[:place] + chr(chance.randrange(1, 0xD7FF)) + tree[place + 1 :]
        if kind == 4 and type(tree) is int:
            return tree + chance.choice((-1, 1, 255))
        return chance.choice(self._subtrees)


def _nodes(tree: Any) -> list[Any]:
    if type(tree) is not list:
        return [tree]
    return [tree, *(each for part in tree for each in _nodes(part))]


def run(seed: int, count: int) -> Outcome:
    """Decode ``count`` mutated frames; an exception that is not ours goes through."""
    outcome, mutator = Outcome(), Mutator(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(count):
            data = mutator.frame()
            try:
                refilled(data) if mutator.shares else unpacked(data)
                outcome.decoded += 1
            except FrameError:
                outcome.broken += 1
            except Undecodable:
                outcome.refused += 1
            except BaseException:
                print("the frame:", data.hex(), file=sys.stderr)
                raise
    return outcome


def main(seed: int, count: int, mebibytes: int) -> None:
    """Run within that much more address space than the imports need, and print the outcome."""
    run(seed, 2000)  # loads what the libraries load late
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    now = pages * resource.getpagesize()
    most = now + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = run(seed, count)
    seconds = time.process_time() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    parts = {"decoded": outcome.decoded, "refused": outcome.refused, "broken": outcome.broken}
    print(json.dumps({**parts, "seconds": round(seconds, 1), "grown_mib": grown // 1024}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
