"""Nodes in the hub's database: the hashes of their secrets, their leases, what they told last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    Delete,
    delete,
    false,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from mograder.core.errors import Conflict
from mograder.core.sections.settings_model import LONGEST_LEASE
from mograder.store.database.database import (
    Hash,
    Name,
    Tables,
    database_now,
    reading,
    table_of,
    values_of,
    writing,
)
from mograder.store.hub.hub_tables import metadata


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that has a token.

    ``secret_hash`` is the SHA-256, in hex, of the secret by which it is known, "" once it was
    removed. No hub may take its sessions as ended before ``lease_until``, unless the node says so;
    it is None before its first connection. ``draining`` is the administrator's wish. ``status`` is
    the JSON of its last :class:`~mograder.sandbox.protocol.NodeStatus`, written now and then for
    people.
    """

    name: Name
    secret_hash: Hash
    added_at: datetime
    lease_until: datetime | None = None
    draining: bool = False
    version: Name = ""
    status: str = ""


nodes = table_of("nodes", metadata, NodeRow, ("name",), draining=false(), version="", status="")


@dataclass(frozen=True, slots=True)
class NodeNote:
    """What is kept of a node for people; ``status`` is JSON."""

    name: str
    version: str
    status: str


class Nodes(Tables):
    def add(self, row: NodeRow) -> None:
        """Add a node; one of that name is replaced if its lease is over.

        The new one is drained if the old one was, unless that was removed.

        Raises: :class:`Conflict` while a node of that name holds a lease.
        """
        self.holding()  # it shortens a lease that is too long, also if this one is refused
        with writing(self._engine) as connection:
            wanted = select(nodes).where(nodes.c.name == row.name).with_for_update()
            old = connection.execute(wanted).one_or_none()
            until = None if old is None else old.lease_until
            if until is not None and until > database_now(connection):
                raise Conflict(
                    f"A node named {row.name} is at work.",
                    hint=f"Remove it first (mograder hub nodes remove {row.name}), and wait for "
                    "the end of its lease.",
                )
            connection.execute(delete(nodes).where(nodes.c.name == row.name))
            values = values_of(row)
            if old is not None and old.draining and old.secret_hash:
                values["draining"] = True
            connection.execute(insert(nodes).values(**values))

    def all(self) -> tuple[NodeRow, ...]:
        return self._rows(NodeRow, select(nodes).order_by(nodes.c.name))

    def find(self, name: str) -> NodeRow | None:
        return self._row(NodeRow, select(nodes).where(nodes.c.name == name))

    def known_by(self, secret_hash: str) -> NodeRow | None:
        wanted = select(nodes).where(nodes.c.secret_hash == secret_hash)
        return self._row(NodeRow, wanted) if secret_hash else None

    def renew_leases(
        self, secret_hashes: Mapping[str, str], seconds: float, notes: Iterable[NodeNote] = ()
    ) -> Mapping[str, NodeRow]:
        """Extend the leases of nodes, given with the hashes of their secrets; store ``notes``.

        A lease then lasts ``seconds`` from now. Return the rows by name, without those of nodes
        that were removed or have another secret now.
        """
        known = tuple_(nodes.c.name, nodes.c.secret_hash).in_(list(secret_hashes.items()))
        with writing(self._engine) as connection:
            until = database_now(connection) + timedelta(seconds=seconds)
            changed = update(nodes).where(known).values(lease_until=until).returning(*nodes.c)
            rows = [NodeRow(*row) for row in connection.execute(changed)]
            for each in notes:
                told = update(nodes).where(nodes.c.name == each.name)
                connection.execute(told.values(version=each.version, status=each.status))
            return {row.name: row for row in rows}

    def holding(self) -> frozenset[str]:
        """Return the names of the nodes whose lease is not over, also of removed ones.

        A lease that the database's clock, ahead then, wrote for too long is shortened.
        """
        with reading(self._engine) as connection:
            now = database_now(connection)
            held = select(nodes.c.name, nodes.c.lease_until).where(nodes.c.lease_until > now)
            rows = connection.execute(held).all()
        most = now + timedelta(seconds=LONGEST_LEASE)
        if any(row.lease_until > most for row in rows):
            shorter = update(nodes).where(nodes.c.lease_until > most)
            self._change(shorter.values(lease_until=most))
        return frozenset(row.name for row in rows)

    def secret_hashes(self) -> dict[str, str]:
        wanted = select(nodes.c.name, nodes.c.secret_hash)  # without the long ``status``
        return dict(self._rows(lambda name, secret_hash: (name, secret_hash), wanted))

    def drain(self, name: str, *, draining: bool) -> bool:
        return self._change(update(nodes).where(nodes.c.name == name).values(draining=draining)) > 0

    def remove(self, name: str) -> bool:
        """Remove a node: its secret counts no more; return False for an unknown name.

        While its lease is not over the row stays, without the hash, since its sessions may
        run until then; :meth:`forget_removed` deletes it later.
        """
        with writing(self._engine) as connection:
            changed = update(nodes).where(nodes.c.name == name).values(secret_hash="")
            found = connection.execute(changed).rowcount > 0
            connection.execute(_removed(connection))
            return found

    def forget_removed(self) -> int:
        """Delete the nodes that were removed and whose lease is over; return how many."""
        with writing(self._engine, fleeting=True) as connection:
            return connection.execute(_removed(connection)).rowcount


def _removed(connection: Connection) -> Delete:
    over = or_(nodes.c.lease_until.is_(None), nodes.c.lease_until <= database_now(connection))
    return delete(nodes).where(nodes.c.secret_hash == "", over)
