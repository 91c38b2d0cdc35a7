"""What the kernel says of mounted file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.files import disk
from mograder.core.files.disk import Mount, mount_of, on_network

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:40 / /srv rw,nosuid - tmpfs tmpfs rw,size=10k
31 30 0:41 /course /srv rw,nosuid shared:7 master:2 - nfs4 files:/course rw,vers=4.2,hard,\
lookupcache=pos,local_lock=none,addr=10.0.0.1
32 31 8:1 /disk /srv/with\\040space rw - xfs /dev/sdb rw
a line of a later kernel
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


def test_the_mount_of_a_path_is_the_deepest_and_of_those_the_last(table: Path) -> None:
    found = mount_of(Path("/srv/not/there"), table=table)
    assert found is not None
    assert (found.kind, found.source, found.network) == ("nfs4", "files:/course", True)
    assert (found.option("vers"), found.option("lookupcache")) == ("4.2", "pos")
    assert found.option("hard") is None, "it has no value"
    assert {"hard", "nosuid"} <= found.options


def test_names_with_spaces_and_others_beside(table: Path) -> None:
    inside = mount_of(Path("/srv/with space/x"), table=table)
    beside = mount_of(Path("/srv/with"), table=table)
    root = mount_of(Path("/srvx"), table=table)
    assert [each.kind for each in (inside, beside, root) if each] == ["xfs", "nfs4", "ext4"]


def test_a_system_without_the_table_knows_nothing(tmp_path: Path) -> None:
    assert mount_of(tmp_path, table=tmp_path / "none") is None


def test_a_device_is_looked_up_once(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_TABLE", table)
    on_network.cache_clear()
    try:
        assert on_network(os.makedev(0, 41))
        assert not on_network(os.makedev(8, 1))
        assert not on_network(os.makedev(9, 9))
        table.unlink()
        assert on_network(os.makedev(0, 41))
    finally:
        on_network.cache_clear()


def test_this_machines_own_disk_is_none_of_the_networks(tmp_path: Path) -> None:
    assert not on_network(tmp_path.stat().st_dev)


def test_file_systems_of_clusters_count_and_those_of_containers_do_not() -> None:
    kinds = ("nfs4", "ceph", "lustre", "fuse.sshfs", "overlay", "tmpfs", "fuse.overlayfs")
    found = [Mount(Path("/"), kind, "", frozenset()).network for kind in kinds]
    assert found == [True, True, True, True, False, False, False]
