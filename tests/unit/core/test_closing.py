"""core.closing: pipes that are opened together."""

from __future__ import annotations

import os
import resource

import pytest

from mograder.core.context_managers import open_pipes


def test_pipes_are_connected() -> None:
    pipes = open_pipes(2)
    try:
        for number, (_, write) in enumerate(pipes):
            os.write(write, bytes([number]))
        assert [os.read(read, 1) for read, _ in pipes] == [b"\0", b"\1"]
    finally:
        for pair in pipes:
            for each in pair:
                os.close(each)


def test_none_stays_open_if_one_cannot_be_opened() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    (first, last), *_ = found = open_pipes(1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 4, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_pipes(20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for pair in found:
            for each in pair:
                os.close(each)
    again = open_pipes(1)
    assert again == ((first, last),)
    for each in again[0]:
        os.close(each)
