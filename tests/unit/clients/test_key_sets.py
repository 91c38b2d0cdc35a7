"""clients.key_sets: when a key set is fetched."""

from __future__ import annotations

import asyncio
import threading

import pytest
from joserfc import jwk, jws

from mograder.auth.jose import InvalidToken, PrivateKey, UnknownKey
from mograder.clients.key_sets import CachedKeySet
from mograder.core.errors import RemoteFailed
from tests.support.clock import ManualClock

OLD, NEW, STRANGER = PrivateKey.new(), PrivateKey.new(), PrivateKey.new()
RS256 = ("RS256",)


class Issuer:
    """The key set of an issuer, and how often it was fetched."""

    def __init__(self, *keys: PrivateKey) -> None:
        self.keys = keys
        self.fetched = 0
        self.down = False

    def fetch(self) -> object:
        self.fetched += 1
        if self.down:
            raise RemoteFailed("The issuer cannot be reached.")
        return {"keys": [key.public() for key in self.keys]}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_a_set_is_fetched_when_it_is_needed_and_kept(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    keys = CachedKeySet(issuer.fetch, clock)
    assert issuer.fetched == 0
    for _ in range(3):
        assert await keys.verify(OLD.sign({"a": 1}), algorithms=RS256) == {"a": 1}
    assert issuer.fetched == 1


async def test_a_new_key_is_found_by_one_more_fetch(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    keys = CachedKeySet(issuer.fetch, clock)
    await keys.verify(OLD.sign({}), algorithms=RS256)
    issuer.keys = (NEW,)
    clock.advance(61)
    assert await keys.verify(NEW.sign({"a": 1}), algorithms=RS256) == {"a": 1}
    with pytest.raises(UnknownKey):
        await keys.verify(OLD.sign({}), algorithms=RS256)
    assert issuer.fetched == 2


async def test_a_new_key_is_found_also_where_the_issuer_gives_its_keys_no_ids(
    clock: ManualClock,
) -> None:
    """OpenID Connect allows that to a provider with one key."""
    keys = [jwk.generate_key("RSA", 2048) for _ in range(2)]
    tokens = [jws.serialize_compact({"alg": "RS256"}, "{}", key) for key in keys]
    published = [key.as_dict(private=False) for key in keys]
    known = CachedKeySet(lambda: {"keys": published[:1]}, clock)
    assert await known.verify(tokens[0], algorithms=RS256, kid_required=False) == {}
    del published[0]
    with pytest.raises(InvalidToken):
        await known.verify(tokens[1], algorithms=RS256, kid_required=False)
    clock.advance(61)
    assert await known.verify(tokens[1], algorithms=RS256, kid_required=False) == {}


async def test_invented_key_ids_cause_one_fetch_a_minute(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    keys = CachedKeySet(issuer.fetch, clock)
    await keys.verify(OLD.sign({}), algorithms=RS256)
    forged = STRANGER.sign({})
    for minute in range(3):
        for _ in range(300):
            with pytest.raises(UnknownKey):
                await keys.verify(forged, algorithms=RS256)
        assert issuer.fetched == 1 + minute
        clock.advance(60)


async def test_many_tokens_at_once_wait_for_one_fetch(clock: ManualClock) -> None:
    issuer, go = Issuer(OLD), threading.Event()

    def slow() -> object:
        go.wait(10)
        return issuer.fetch()

    keys = CachedKeySet(slow, clock)
    token = OLD.sign({"a": 1})
    waiting = [asyncio.ensure_future(keys.verify(token, algorithms=RS256)) for _ in range(20)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [{"a": 1}] * 20
    assert issuer.fetched == 1


async def test_a_failed_fetch_keeps_the_set(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    keys = CachedKeySet(issuer.fetch, clock)
    await keys.verify(OLD.sign({}), algorithms=RS256)
    issuer.down = True
    clock.advance(4000)
    assert await keys.verify(OLD.sign({"a": 1}), algorithms=RS256) == {"a": 1}
    issuer.down, issuer.keys = False, (OLD, OLD)
    clock.advance(4000)
    assert await keys.verify(OLD.sign({"a": 1}), algorithms=RS256) == {"a": 1}
    assert issuer.fetched == 3


async def test_without_a_set_a_token_is_refused_as_not_checked(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    issuer.down = True
    keys = CachedKeySet(issuer.fetch, clock)
    for _ in range(10):
        with pytest.raises(RemoteFailed):
            await keys.verify(OLD.sign({}), algorithms=RS256)
    assert issuer.fetched == 1
    issuer.down = False
    clock.advance(5)
    assert await keys.verify(OLD.sign({"a": 1}), algorithms=RS256) == {"a": 1}


async def test_a_fault_of_the_token_is_not_a_reason_to_fetch(clock: ManualClock) -> None:
    issuer = Issuer(OLD)
    keys = CachedKeySet(issuer.fetch, clock)
    await keys.verify(OLD.sign({}), algorithms=RS256)
    clock.advance(61)
    with pytest.raises(InvalidToken):
        await keys.verify(OLD.sign({}, typ="logout+jwt"), algorithms=RS256)
    assert issuer.fetched == 1
