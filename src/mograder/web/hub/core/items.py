"""Items and copies as an address names them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.hub.items import Items
from mograder.sessions.session import CopyOf
from mograder.web.hub.core.access import use

CurrentItems = Annotated[Items, use(Items)]


def item_name(name: str) -> ItemName:
    """Return the name of an item in a request; raise InvalidInput if it cannot be one."""
    if name in ItemName.reserved:
        raise InvalidInput(f"'{name}' is reserved and cannot be used as a name")
    return ItemName.parse(name)


def item_page(name: str) -> str:
    return f"/course/items/{quote(name, safe='')}"


def copy_page(kind: str, copy: CopyOf) -> str:
    """Return the address of one of a copy's pages, below the prefix."""
    return f"/{kind}/{quote(copy.user, safe='')}/{quote(copy.item, safe='')}"


def copy_in(user: str, name: str) -> CopyOf:
    """Return the copy that an address names. Raises: :class:`InvalidInput`."""
    return CopyOf(Username.of_account(user), ItemName.parse(name))


async def known_copy(user: str, a: str) -> CopyOf:
    """Return the copy that a path names. Raises: :class:`NotFound`."""
    try:
        return copy_in(user, a)
    except InvalidInput as error:
        raise NotFound("Notebook not found") from error


KnownCopy = Annotated[CopyOf, Depends(known_copy)]
"""A handler's parameter: the copy that the path names; else the response is 404."""
