"""An administrator's afternoon on a fresh Debian, and a student's and a disaster after it.

B1-B8, B12-B18, B45-B47 on a real system. The tests run in their order, on one machine: each goes on
where the one before has ended.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from mograder import __version__
from tests.deploy.machine import LOGIN, Machine, fresh_machine
from tests.deploy.next_release import TABLE, VERSION, build_next_release
from tests.support.course import REPOSITORY
from tests.support.marimo import Address, MarimoClient

pytestmark = pytest.mark.full

DOMAIN, PORT = "hub.test", 8080
URL = f"https://{DOMAIN}"
SIGN_ON = "127.0.0.2"
"""The address that the single sign-on sends requests from."""

CAFILE = "var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
ITEM = "A1-Measuring-Pi"
_LINE = "kept_across_a_restart = secrets.token_hex(8)"
_MARK = f"import secrets\n{_LINE}\nkept_across_a_restart"
"""A cell whose value is only in its kernel's memory."""

_VOLUME_STEP = """
from mograder.operations.install.options import InstallOptions
from mograder.operations.install.data import ensure_volume
from mograder.processes.programs import Host
ensure_volume(Host(print), InstallOptions(volume="{disk}"), data="/mnt/other")
"""
"""The step that mounts a volume, at another place."""

_SEED_UNIT = """\
[Unit]
Description=mograder hub server
After=network.target

[Service]
Type=simple
User=mograder
Group=mograder
WorkingDirectory=/srv/mograder/course
Environment=MOGRADER_HUB_SECRET={secret}
Environment=MOGRADER_COURSE_DIR=/srv/mograder/course
Environment=PATH=/home/mograder/.local/bin:/usr/local/bin:/usr/bin
ExecStart=/home/mograder/.local/bin/uv run mograder hub \\
    --port 8080 \\
    --host 127.0.0.1 \\
    --session-ttl 3600
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""
"""The deployment guide's unit, word for word, with a secret in its place."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deploy")


@pytest.fixture(scope="module")
def machine(place: Path) -> Iterator[Machine]:
    with fresh_machine(Path(os.environ["MOGRADER_TEST_DEPLOY"]), place) as machine:
        yield machine


@pytest.fixture(scope="module")
def wheel() -> Path | None:
    """The wheel that the environment names; None: the one that the script makes of its checkout."""
    named = os.environ.get("MOGRADER_DEPLOY_WHEEL")
    return Path(named) if named else None


@pytest.fixture(scope="module")
def newer(place: Path) -> Path:
    """The release after this one."""
    return build_next_release(place / "next")


def deploy(machine: Machine, wheel: Path | None, *options: str) -> str:
    """Run the script as the administrator does, and show its output."""
    version = ("--mograder-version", str(wheel)) if wheel else ()
    done = subprocess.run(
        [
            *("bash", str(REPOSITORY / "scripts" / "deploy-hub-aws.sh")),
            *("--host", "127.0.0.1", "--ssh-port", str(machine.port), "--user", LOGIN),
            *("--key", str(machine.key), *version),
            *("--domain", DOMAIN, "--internal-ca", "--sso-proxy", SIGN_ON),
            *("--volume", machine.disks[0], *options),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3000,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def deployed(machine: Machine, wheel: Path | None) -> str:
    """The output of the first deployment."""
    return deploy(machine, wheel)


@pytest.fixture
def token(machine: Machine, deployed: str) -> str:
    """The instructor's, by the command that the script names; a log of its output has none."""
    found = re.search(r"^An instructor's token[^:]*: sudo (.+)$", deployed, re.MULTILINE)
    assert found is not None
    made = machine.run(found[1]).strip()
    assert made not in deployed
    return made


def trust(machine: Machine) -> ssl.SSLContext:
    """The authority that Caddy made for itself, and no other."""
    return ssl.create_default_context(cafile=str(machine.root / CAFILE))


def client(machine: Machine, user: str = "", token: str = "") -> httpx.Client:
    """A person named by the sign-on or by a token, or an anonymous one."""
    headers = {"X-Remote-User": user} if user else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.HTTPTransport(
        verify=trust(machine), local_address=SIGN_ON if user else "127.0.0.1"
    )
    return httpx.Client(
        base_url=URL,
        headers=headers,
        transport=transport,
        timeout=180,
        event_hooks={"request": [_to_the_machine]},
    )


def _to_the_machine(request: httpx.Request) -> None:
    """No name server knows the machine, so its name is said and its address used."""
    request.extensions["sni_hostname"] = DOMAIN
    request.url = request.url.copy_with(host="127.0.0.1")


async def _to_the_machine_too(request: httpx.Request) -> None:
    _to_the_machine(request)


def test_b1_b5_a_fresh_machine_becomes_a_hub(machine: Machine, deployed: str) -> None:
    """B1-B5, B8: dependencies, the user, settings, services, and what to do next."""
    assert "there is nothing wrong" not in deployed
    for unit in ("mograder-hub.service", "mograder-hub.socket", "mograder-sessions.service"):
        assert machine.run(f"systemctl is-active {unit}").strip() == "active"
        assert machine.run(f"systemctl is-enabled {unit}").strip() == "enabled"
    assert machine.run("stat -c '%a %U' /etc/mograder/hub-secret").split() == ["600", "root"]
    assert re.fullmatch(r"[0-9a-f]{64}\n", machine.run("cat /etc/mograder/hub-secret"))
    assert "session: one was opened" in deployed
    assert "What to do next" in deployed


def test_b6_b21_the_data_is_on_the_volume_which_is_found_by_its_uuid(
    machine: Machine, deployed: str
) -> None:
    """B6, B21: formatted since it was empty; a machine without it starts all the same."""
    assert "is empty: making a file system on it" in deployed
    assert machine.run("findmnt -no SOURCE /srv/mograder").strip() == machine.disks[0]
    uuid = machine.run(f"blkid -p -o value -s UUID {machine.disks[0]}").strip()
    (line,) = machine.run("grep /srv/mograder /etc/fstab").splitlines()
    assert line.split()[:3] == [f"UUID={uuid}", "/srv/mograder", "ext4"]
    assert "nofail" in line.split()[3].split(",")


@pytest.mark.parametrize(
    "fill", ["mkswap {} >/dev/null", r"printf '\125\252' | dd of={} bs=1 seek=510 conv=notrunc"]
)
def test_b6_a_disk_that_holds_something_is_not_formatted(
    machine: Machine, deployed: str, fill: str
) -> None:
    """B6: swap, and a table of partitions: what is there may be the last copy of something."""
    disk = machine.disks[1]
    machine.run(f"wipefs --quiet --all {disk}; {fill.format(disk)}; sync")
    before = machine.run(f"head -c 1M {disk} | sha256sum")
    step = _VOLUME_STEP.format(disk=disk)
    said = machine.run("cd / && /opt/mograder/current/bin/python - 2>&1; true", given=step.encode())
    assert "I format nothing that holds" in said
    assert machine.run(f"head -c 1M {disk} | sha256sum") == before
    assert machine.run("grep -c /mnt/other /etc/fstab", check=False).strip() == "0"


def test_b45_b46_b47_logs_status_check_and_tokens(machine: Machine, deployed: str) -> None:
    """B45-B47 as the guide has them."""
    assert "Hub for" in machine.run("journalctl -u mograder-hub --no-pager")
    assert "active (running)" in machine.run("systemctl status mograder-hub --no-pager")
    said = machine.run("mograder-hub check /srv/mograder/course", check=False)
    assert "[ok] sandbox: a session sees no network" in said
    command = (
        "export MOGRADER_HUB_SECRET=$(cat /etc/mograder/hub-secret); "
        "cd / && mograder hub generate-token --role instructor admin"
    )
    assert machine.run(command).startswith("admin:")


def test_again_it_changes_nothing(machine: Machine, wheel: Path | None, deployed: str) -> None:
    """Every step is an `ensure_`: secret, settings and processes are as they were."""
    look = (
        "cat /etc/mograder/hub-secret /srv/mograder/course/mograder.toml /etc/caddy/Caddyfile; "
        "systemctl show -p MainPID mograder-hub mograder-sessions caddy"
    )
    before = machine.run(look)
    said = deploy(machine, wheel)
    assert machine.run(look) == before
    assert not re.search(r"wrote|installing|restarting|reload", said)


@asynccontextmanager
async def editor(machine: Machine, user: str, item: str) -> AsyncIterator[MarimoClient]:
    """An editor tab through Caddy, signed in by the header."""
    headers = {"X-Remote-User": user}
    address = Address(base_url=f"{URL}/edit/user/{user}/{item}", headers=headers, timeout=180)
    transport = httpx.AsyncHTTPTransport(verify=trust(machine), local_address=SIGN_ON)
    async with httpx.AsyncClient(
        transport=transport,
        headers=headers,
        timeout=180,
        event_hooks={"request": [_to_the_machine_too]},
    ) as http:
        tab = _Tab(address, http, trust(machine))
        try:
            await tab.load_page()
            await tab.connect()
            yield tab
        finally:
            await tab.close()


class _Tab(MarimoClient):
    """Dials from the sign-on's address, and trusts Caddy's own authority."""

    def __init__(self, address: Address, http: httpx.AsyncClient, trusted: ssl.SSLContext) -> None:
        super().__init__(address, http)
        self._trusted = trusted

    async def _dial(self, url: str) -> ClientConnection:
        return await connect(
            url,
            additional_headers=dict(self.address.headers),
            ssl=self._trusted,
            max_size=None,
            open_timeout=self.address.timeout,
            proxy=None,
            host="127.0.0.1",
            port=443,
            local_addr=(SIGN_ON, 0),
        )


def test_b8_the_course_is_published_with_an_instructors_token(machine: Machine, token: str) -> None:
    """B8's remaining steps, as an instructor who is no service and no root."""
    course = REPOSITORY / "examples" / "course"
    packed = subprocess.run(
        ["tar", "-C", str(course), "-c", "release", "mograder.toml"],
        capture_output=True,
        check=True,
    )
    machine.run("cat /" + CAFILE + " > /var/tmp/authority && chmod 644 /var/tmp/authority")
    unpack = f"mkdir /var/tmp/c && tar -x -C /var/tmp/c && chown -R {LOGIN} /var/tmp/c"
    machine.run(unpack, given=packed.stdout)
    publish = f"mograder hub publish {ITEM} --force --url {URL} --token {token}"
    said = machine.run(
        f"cd /var/tmp/c && runuser -u {LOGIN} -- env SSL_CERT_FILE=/var/tmp/authority {publish}"
    )
    assert "to hub." in said


async def test_a_student_works_through_https_and_the_trusted_header_while_the_hub_restarts(
    machine: Machine, token: str
) -> None:
    """The session and its kernel live on; nobody can name oneself from elsewhere."""
    with client(machine) as nobody:
        forged = nobody.get("/assignments", headers={"X-Remote-User": "alice"})
        assert forged.status_code == 403
    with client(machine, "alice") as alice:
        assert ITEM in [row["name"] for row in alice.get("/assignments").json()]
        assert alice.post(f"/start-edit-deep/{ITEM}").status_code == 200
    pids = "systemctl show -p MainPID --value mograder-hub mograder-sessions"
    before = machine.run(pids).split()
    async with editor(machine, "alice", ITEM) as tab:
        await tab.instantiate()
        value = (await tab.edit(len(tab.cells.ids) - 1, _MARK)).data
        assert re.search(r"[0-9a-f]{16}", value), value
        await tab.save()
        # Under the open page, whose WebSocket goes through the hub.
        await asyncio.to_thread(machine.run, "systemctl restart mograder-hub")
    hub, supervisor = machine.run(pids).split()
    assert hub != before[0], "the hub is another"
    assert supervisor == before[1], "the supervisor is the same"
    with client(machine, "alice") as alice:
        assert [row["assignment"] for row in alice.get("/sessions").json()] == [ITEM]
    async with editor(machine, "alice", ITEM) as tab:
        shown = await tab.edit(len(tab.cells.ids) - 2, "kept_across_a_restart")
    assert shown.data == value, "the same kernel, with what it had in memory"


def test_what_was_done_is_backed_up_wiped_and_found_again(
    machine: Machine, token: str, place: Path
) -> None:
    """Backs up, wipes, restores, and finds all work."""
    with client(machine, "alice") as alice:
        assert alice.post(f"/submit/alice/{ITEM}").status_code == 200
        work = alice.get(f"/export/alice/{ITEM}").content
    assert _LINE.encode() in work
    backup = machine.fetch("mograder-hub backup -")
    (place / "backup.tar.gz").write_bytes(backup)
    machine.run("systemctl stop mograder-hub.socket mograder-hub mograder-sessions")
    machine.run("find /srv/mograder/course /srv/mograder/hub-notebooks -mindepth 1 -delete")
    machine.run("cat > /var/tmp/b && chown mograder /var/tmp/b", given=backup)
    print(machine.run("cd / && runuser -u mograder -- mograder hub restore /var/tmp/b"))
    machine.run("systemctl start mograder-sessions mograder-hub.socket mograder-hub")
    with client(machine, "alice") as alice:
        assert alice.get(f"/export/alice/{ITEM}").content == work
        assert alice.get(f"/status/alice/{ITEM}").json()["file_status"] != "not_started"
    handed_in = machine.run(f"ls /srv/mograder/course/submitted/{ITEM}")
    assert "alice.py" in handed_in
    with client(machine, token=token) as instructor:
        assert instructor.get("/audit").status_code == 200, "the same token is good"


_UNTIL_IT_ANSWERS = (
    "for i in $(seq 120); do curl -fsS -m 5 http://127.0.0.1:8080/health && exit 0; sleep 1; done; "
    "systemctl status 'mograder-*' --no-pager; exit 1"
)


def test_while_the_hub_cannot_start_browsers_get_an_error_page(
    machine: Machine, deployed: str
) -> None:
    """systemd would hold the port and let them wait; the hub comes back by itself."""
    settings = "/srv/mograder/course/mograder.toml"
    machine.run(f"cp -p {settings} /var/tmp/good.toml; echo 'broken = [' >>{settings}")
    machine.run("systemctl restart mograder-hub", check=False)
    for _ in range(3):  # in the attempts to start it, and between them
        with client(machine) as somebody:
            answer = somebody.get("/")
        assert (answer.status_code, "The hub is not running" in answer.text) == (503, True)
    machine.run(f"cp -p /var/tmp/good.toml {settings}")
    machine.run(_UNTIL_IT_ANSWERS)
    with client(machine) as somebody:
        assert somebody.get("/health").status_code == 200


def test_without_its_volume_nothing_waits(machine: Machine, deployed: str) -> None:
    """The port is closed then, since the socket needs the volume as the hub does."""
    machine.run("systemctl stop srv-mograder.mount")
    with client(machine) as somebody:
        assert somebody.get("/").status_code == 503
    assert machine.run("systemctl is-active mograder-hub.socket", check=False).strip() != "active"
    machine.run("mount /srv/mograder && systemctl start mograder-hub")
    machine.run(_UNTIL_IT_ANSWERS)


def test_own_lines_for_caddy_survive(machine: Machine, wheel: Path | None, deployed: str) -> None:
    """In the files that are included; what was changed in the written one is kept as a copy."""
    own = "/etc/caddy/mograder.d/site.caddy"
    machine.run(f"echo 'header X-Of-The-Administrator yes' >>{own}")
    machine.run("echo '# a line of mine' >>/etc/caddy/mograder.caddy")
    said = deploy(machine, wheel)
    assert "/etc/caddy/mograder.caddy was changed by somebody" in said
    assert "a line of mine" in machine.run("cat /etc/mograder/kept/mograder.caddy.*")
    with client(machine) as somebody:
        assert somebody.get("/health").headers["X-Of-The-Administrator"] == "yes"


async def test_an_upgrade_copies_the_database_first_and_sessions_live_on(
    machine: Machine, newer: Path, deployed: str
) -> None:
    """The script again with a newer release, while a student is at work."""
    with client(machine, "alice") as alice:
        assert alice.post(f"/start-edit-deep/{ITEM}").status_code == 200
    supervisor = "systemctl show -p MainPID --value mograder-sessions"
    before = machine.run(supervisor)
    async with editor(machine, "alice", ITEM) as tab:
        await tab.instantiate()
        value = (await tab.edit(len(tab.cells.ids) - 1, _MARK)).data
        assert re.search(r"[0-9a-f]{16}", value), value
        said = await asyncio.to_thread(deploy, machine, newer)
    assert "the session supervisor goes on as it is" in said
    assert "restarting the hub; sessions go on" in said
    assert machine.run("mograder --version").split()[-1] == VERSION
    assert machine.run(supervisor) == before
    async with editor(machine, "alice", ITEM) as tab:
        shown = await tab.edit(len(tab.cells.ids) - 2, "kept_across_a_restart")
    assert shown.data == value, "the same kernel, with what it had in memory"
    (copy,) = machine.run("find /srv/mograder/course -name '*.before-next'").split()
    tables = f"grep -l {TABLE} {copy.removesuffix('.before-next')}* 2>/dev/null"
    assert "before" not in machine.run(tables), "the copy is as the database was"


def test_back_again_wants_the_database_of_before(machine: Machine, deployed: str) -> None:
    """The newer version runs on until the database of before is in its place."""
    supervisor = "systemctl show -p MainPID --value mograder-sessions"
    before = machine.run(supervisor)
    said = machine.run("cd / && mograder hub rollback 2>&1; true")
    assert "was written by a newer mograder" in said
    assert machine.run("mograder --version").split()[-1] == VERSION
    machine.run(
        "systemctl stop mograder-hub.socket mograder-hub && cd /srv/mograder/course/.mograder && "
        "mv hub.db hub.db.newer && cp -p hub.db.before-next hub.db"
    )
    said = machine.run("cd / && mograder hub rollback 2>&1")
    print(said)
    assert "mograder-hub is active" in said
    assert machine.run("mograder --version").split()[-1] == __version__
    assert machine.run(supervisor) == before, "sessions go on"
    assert "it is another program" in machine.run(
        "cd / && bash $(find /opt/mograder/current/ -name deploy-hub-aws.sh) --host h --key k "
        "--mograder-version 1.0 2>&1; true"
    )


def test_b17_the_seeds_single_unit_works_as_it_is(machine: Machine, deployed: str) -> None:
    """B12-B18: in the place of the shipped ones, word for word."""
    secret = machine.run("cat /etc/mograder/hub-secret").strip()
    machine.run("systemctl disable --now mograder-hub.socket mograder-hub mograder-sessions")
    unit = "/etc/systemd/system/mograder-hub.service"
    machine.run(f"cat > {unit}", given=_SEED_UNIT.format(secret=secret).encode())
    machine.run("systemctl daemon-reload && systemctl enable --now mograder-hub")
    machine.run(
        "for i in $(seq 120); do curl -fsS http://127.0.0.1:8080/health && exit 0; sleep 1; done;"
        "journalctl -u mograder-hub -n 30 --no-pager; exit 1"
    )
    assert machine.run("systemctl is-active mograder-hub").strip() == "active"


def test_from_the_seeds_unit_the_script_goes_back_to_the_shipped_ones(
    machine: Machine, newer: Path, deployed: str
) -> None:
    """An installation made by hand is taken over: its unit is kept, its secret too."""
    secret = machine.run("cat /etc/mograder/hub-secret")
    said = deploy(machine, newer)
    assert "a unit of your own is there" in said
    assert machine.run("cat /etc/mograder/hub-secret") == secret
    assert machine.run("systemctl is-active mograder-sessions").strip() == "active"


def test_uninstalled_the_data_stays(machine: Machine, wheel: Path | None, deployed: str) -> None:
    machine.run("cd / && mograder hub uninstall")
    assert machine.run("systemctl is-active mograder-hub", check=False).strip() != "active"
    machine.run("test ! -e /opt/mograder && test -s /etc/mograder/hub-secret")
    machine.run("test -s /srv/mograder/course/mograder.toml")
    assert "alice" in machine.run("ls /srv/mograder/hub-notebooks")
