"""Nodes in the hub's database: their certificates, leases, join tokens and the authority."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, Delete, Engine, delete, insert, or_, select, update

from mograder.core.errors import Conflict
from mograder.store.database.database import reading, writing
from mograder.store.database.database_time import database_now
from mograder.store.hub.hub_tables import NodeRow, node_authority, node_tokens, nodes


class Nodes:
    """The nodes that have joined; every method may raise :class:`~mograder.core.errors.Busy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, row: NodeRow) -> None:
        """Add a node; one of that name is replaced if its lease is over.

        The new one is drained if the old one was, unless that was removed.

        Raises: :class:`Conflict` while a node of that name holds a lease.
        """
        with writing(self._engine) as connection:
            wanted = select(nodes).where(nodes.c.name == row.name).with_for_update()
            old = connection.execute(wanted).one_or_none()
            until = None if old is None else old.lease_until
            if until is not None and until > database_now(connection):
                raise Conflict(
                    f"A node named {row.name} is at work.",
                    hint="Give this one another name with --name, or stop that one first.",
                )
            connection.execute(delete(nodes).where(nodes.c.name == row.name))
            values = asdict(row)
            if old is not None and old.draining and old.fingerprint:
                values["draining"] = True
            connection.execute(insert(nodes).values(**values))

    def all(self) -> tuple[NodeRow, ...]:
        """Return all nodes, by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(nodes).order_by(nodes.c.name)).mappings()
            return tuple(NodeRow(**row) for row in rows)

    def find(self, name: str) -> NodeRow | None:
        """Return a node, or None for an unknown name."""
        with reading(self._engine) as connection:
            row = connection.execute(select(nodes).where(nodes.c.name == name)).mappings().first()
            return None if row is None else NodeRow(**row)

    def renew_lease(self, name: str, fingerprint: str, seconds: float) -> NodeRow | None:
        """Extend the lease to ``seconds`` from now and return the row.

        Return None if the node was removed, or is now known by another certificate.
        """
        with writing(self._engine) as connection:
            until = database_now(connection) + timedelta(seconds=seconds)
            changed = (
                update(nodes)
                .where(nodes.c.name == name, nodes.c.fingerprint == fingerprint)
                .values(lease_until=until)
                .returning(*nodes.c)
            )
            row = connection.execute(changed).mappings().first()
            return None if row is None else NodeRow(**row)

    def lapsed(self) -> frozenset[str]:
        """Return the names of the nodes whose lease is over, or that never had one."""
        wanted = select(nodes.c.name, nodes.c.lease_until)
        with reading(self._engine) as connection:
            now = database_now(connection)
            rows = connection.execute(wanted).all()
        return frozenset(
            row.name for row in rows if row.lease_until is None or row.lease_until <= now
        )

    def holding(self) -> frozenset[str]:
        """Return the names of the nodes whose lease is not over, also of removed ones."""
        with reading(self._engine) as connection:
            held = select(nodes.c.name).where(nodes.c.lease_until > database_now(connection))
            return frozenset(connection.execute(held).scalars())

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each node's certificate, by name; empty for a removed one."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(nodes.c.name, nodes.c.fingerprint)).all()
            return {row.name: row.fingerprint for row in rows}

    def note(self, name: str, *, version: str, status: str) -> None:
        """Store a node's version and the JSON of its status, for people."""
        changed = update(nodes).where(nodes.c.name == name)
        with writing(self._engine, fleeting=True) as connection:
            connection.execute(changed.values(version=version, status=status))

    def drain(self, name: str, *, draining: bool) -> bool:
        """Store whether a node is to be drained; return False for an unknown name."""
        changed = update(nodes).where(nodes.c.name == name).values(draining=draining)
        with writing(self._engine) as connection:
            return connection.execute(changed).rowcount > 0

    def renew_certificate(self, name: str, old: str, new: str, until: datetime) -> bool:
        """Replace a certificate's fingerprint; return False unless ``old`` is the present one."""
        changed = update(nodes).where(nodes.c.name == name, nodes.c.fingerprint == old)
        with writing(self._engine) as connection:
            values = {"fingerprint": new, "certificate_until": until}
            return connection.execute(changed.values(**values)).rowcount > 0

    def remove(self, name: str) -> bool:
        """Remove a node: its certificate counts no more; return False for an unknown name.

        While its lease is not over the row stays, without a fingerprint, since its sessions may
        run until then; :meth:`forget_removed` deletes it later.
        """
        with writing(self._engine) as connection:
            changed = update(nodes).where(nodes.c.name == name).values(fingerprint="")
            found = connection.execute(changed).rowcount > 0
            connection.execute(_removed(connection))
            return found

    def forget_removed(self) -> int:
        """Delete the nodes that were removed and whose lease is over; return how many."""
        with writing(self._engine, fleeting=True) as connection:
            return connection.execute(_removed(connection)).rowcount

    def add_token(self, token_hash: str, expires: datetime, uses: int) -> None:
        """Store a join token by its hash. Raises: :class:`Conflict`."""
        with writing(self._engine) as connection:
            now = database_now(connection)
            connection.execute(delete(node_tokens).where(node_tokens.c.expires <= now))
            row = insert(node_tokens).values(token_hash=token_hash, expires=expires, uses=uses)
            connection.execute(row)

    def use_token(self, token_hash: str, now: datetime) -> bool:
        """Count one use of a token; return False if it is unknown, expired or used up."""
        table = node_tokens
        used = (
            update(table)
            .where(table.c.token_hash == token_hash, table.c.uses > 0, table.c.expires > now)
            .values(uses=table.c.uses - 1)
        )
        with writing(self._engine) as connection:
            return connection.execute(used).rowcount > 0

    def return_token(self, token_hash: str) -> None:
        """Take back one use of a token."""
        table = node_tokens
        given = update(table).where(table.c.token_hash == token_hash)
        with writing(self._engine) as connection:
            connection.execute(given.values(uses=table.c.uses + 1))

    def authority(self) -> tuple[str, str] | None:
        """Return the certificate and the sealed key of the nodes' authority, if there is one."""
        wanted = select(node_authority.c.certificate, node_authority.c.key)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).first()
            return None if row is None else (row.certificate, row.key)

    def keep_authority(self, certificate: str, key: str) -> tuple[str, str]:
        """Store the authority unless another hub has; return the one that is stored."""
        row = insert(node_authority).values(number=1, certificate=certificate, key=key)
        try:
            with writing(self._engine) as connection:
                connection.execute(row)
        except Conflict:
            stored = self.authority()
            if stored is None:
                raise
            return stored
        return certificate, key

    def drop_authority(self) -> None:
        """Delete the authority, so that another one can be stored; all nodes have to join again."""
        with writing(self._engine) as connection:
            connection.execute(delete(node_authority))


def _removed(connection: Connection) -> Delete:
    """Return the deletion of removed nodes that hold no lease."""
    over = or_(nodes.c.lease_until.is_(None), nodes.c.lease_until <= database_now(connection))
    return delete(nodes).where(nodes.c.fingerprint == "", over)
