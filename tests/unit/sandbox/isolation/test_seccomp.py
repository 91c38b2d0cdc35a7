"""The system-call filter: its shape, and what it does to a process that really has it."""

from __future__ import annotations

import json
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.seccomp import ALLOWED, CHECKED, FORBIDDEN, filter_program
from tests.support.programs import printed_by

EPERM, EINVAL, ENOTTY, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 22, 25, 38, 95, 97
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
KNOWN = ("x86_64", "aarch64")

# Runs with the filter on: tries what it must refuse, then what must go on working.
PROBE = r"""
import concurrent.futures, ctypes, errno, fcntl, json, os, shutil, socket, struct, subprocess
import sys, tempfile, threading
libc = ctypes.CDLL(None, use_errno=True)
data = open(sys.argv[1], "rb").read()
program = ctypes.create_string_buffer(data, len(data))
class Fprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
fprog = Fprog(len(data) // 8, ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(fprog), 0, 0) == 0

found = {}
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    if name.startswith("clone") and result == 0:
        os._exit(0)
    found[name] = ctypes.get_errno() if result < 0 else "worked"
def attempt(name, what):
    try:
        what()
        found[name] = "worked"
    except OSError as error:
        found[name] = error.errno

arm = os.uname().machine == "aarch64"
call("keyctl", 219 if arm else 250, 0, -3, 1)
call("unshare user", 97 if arm else 272, 0x10000000)
for name, flag in {"user": 0x10000000, "net": 0x40000000, "mount": 0x20000}.items():
    call("clone " + name, 220 if arm else 56, flag | 17, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
call("io_setup", 0 if arm else 206, 1, 0)
call("io_uring_setup", 425, 1, 0)
call("mount", 40 if arm else 165, 0, 0, 0, 0, 0)
call("ptrace", 117 if arm else 101, 0, 0, 0, 0)
call("setns", 268 if arm else 308, 0, 0)
call("bpf", 280 if arm else 321, 0, 0, 0)
call("memfd_create", 279 if arm else 319, b"x", 0)
call("memfd_secret", 447, 0)
call("mq_open", 180 if arm else 240, b"x", 0o102, 0o600, 0)
call("seccomp", 277 if arm else 317, 2, 0, 0)
call("landlock_create_ruleset", 444, 0, 0, 1)
call("get_mempolicy", 236 if arm else 239, 0, 0, 0, 0, 0)
call("one above the list", 600)
call("a negative one", -1)
call("shmget", 194 if arm else 29, 0, 4096, 0o600)
call("semget", 190 if arm else 64, 0, 1, 0o600)
call("msgget", 186 if arm else 68, 0, 0o600)
with tempfile.TemporaryFile() as file:
    call("fallocate", 47 if arm else 285, file.fileno(), 0, 0, 4096)
    attempt("reserving room", lambda: os.posix_fallocate(file.fileno(), 0, 4096))
    room = struct.pack("hhqqiI4i", 0, 0, 0, 4096, 0, 0, 0, 0, 0, 0)
    for number in (0x40305828, 0x4030582A, 0x40305839):
        attempt(f"room {number:x}", lambda: fcntl.ioctl(file, number, room))
    attempt("extent size", lambda: fcntl.ioctl(file, 0x401C5820, bytes(28)))
    found["reserved"] = os.fstat(file.fileno()).st_size
    for name, lease in {"read": fcntl.F_RDLCK, "write": fcntl.F_WRLCK}.items():
        attempt(f"lease to {name}", lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, lease))
    attempt("lock", lambda: fcntl.lockf(file, fcntl.LOCK_EX))
folder = os.fsencode(tempfile.mkdtemp())
file = os.open(folder + b"/old", os.O_CREAT | os.O_WRONLY)
old, new, here, creating = folder + b"/old", folder + b"/new", -100, os.O_CREAT | os.O_WRONLY
for bit in (0o4000, 0o2000):
    mode = 0o755 | bit
    call(f"fchmod {bit:o}", 52 if arm else 91, file, mode)
    call(f"fchmodat {bit:o}", 53 if arm else 268, here, old, mode)
    call(f"fchmodat2 {bit:o}", 452, here, old, mode, 0)
    call(f"mknodat {bit:o}", 33 if arm else 259, here, new, 0o100000 | mode, 0)
    call(f"openat {bit:o}", 56 if arm else 257, here, new, creating, mode)
    call(f"unnamed {bit:o}", 56 if arm else 257, here, folder, os.O_TMPFILE | os.O_WRONLY, mode)
    if not arm:
        call(f"chmod {bit:o}", 90, old, mode)
        call(f"mknod {bit:o}", 133, new, 0o100000 | mode, 0)
        call(f"open {bit:o}", 2, new, creating, mode)
        call(f"creat {bit:o}", 85, new, mode)
call("openat2", 437, here, new, struct.pack("QQQ", creating, 0o4755, 0), 24)
attempt("sticky", lambda: os.chmod(folder, 0o1777))
attempt("a mode that is not read", lambda: os.close(os.open(old, os.O_RDONLY, 0o6755)))
shutil.rmtree(folder)
if not arm:
    call("x32 getpid", 0x40000000 | 39)
for family in (40, 38, 17, 31, 9):
    attempt(f"family {family}", lambda: socket.socket(family, socket.SOCK_STREAM, 0).close())
    attempt(f"pair of family {family}", lambda: socket.socketpair(family, socket.SOCK_STREAM))
for name, kind in {"raw": socket.SOCK_RAW, "raw non-blocking": socket.SOCK_RAW | 0o4000}.items():
    attempt(name, lambda: socket.socket(socket.AF_INET, kind, 1).close())
attempt("TIOCSTI", lambda: fcntl.ioctl(0, 0x5412, b"x"))
for number in (0x5000940E, 0x50009418, 0x50009401, 0x50009417):
    attempt(f"btrfs {number:x}", lambda: fcntl.ioctl(0, number, bytearray(4096)))
attempt("another request", lambda: fcntl.ioctl(0, 0x5401, bytearray(60)))

for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    attempt(f"allowed {family.name}", lambda: socket.socket(family).close())
attempt("netlink", lambda: socket.socket(16, socket.SOCK_RAW, 0).close())
attempt("pair", lambda: [s.close() for s in socket.socketpair()])
listener = socket.create_server(("127.0.0.1", 0))
ours = socket.create_connection(listener.getsockname())
theirs = listener.accept()[0]
ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
found["keepalive"] = ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
attempt("SO_LINGER", lambda: ours.setsockopt(
    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600)))
found["lingers"] = ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8).hex()
ours.setblocking(False)
try:
    while True:
        ours.send(b"x" * 65536)
except BlockingIOError:
    ours.close()  # with unsent data
thread = threading.Thread(target=found.update, args=({"thread": "worked"},))
thread.start(); thread.join()
pid = os.fork()
if pid == 0:
    os._exit(5)
found["fork"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
said = subprocess.run(["/bin/sh", "-c", "echo $((6*7))"], capture_output=True)
found["subprocess"] = said.stdout.decode()
with concurrent.futures.ProcessPoolExecutor(1) as pool:
    found["pool"] = pool.submit(abs, -3).result()
print(json.dumps(found))
"""


@pytest.mark.parametrize("machine", KNOWN)
def test_every_jump_stays_inside_and_the_end_is_reached(machine: str) -> None:
    program = filter_program(machine)
    assert len(program) % 8 == 0
    records = list(struct.iter_unpack("HBBI", program))
    assert len(records) < 4096
    for at, (code, if_true, if_false, _) in enumerate(records):
        if code & 7 == 5:
            assert at + 1 + max(if_true, if_false) < len(records)
    assert records[-1] == (6, 0, 0, ERRNO | ENOSYS), "what is not on the list is not there"


@pytest.mark.parametrize("joining", [False, True])
@pytest.mark.parametrize("machine", KNOWN)
def test_every_number_is_answered_as_the_table_says(machine: str, joining: bool) -> None:
    """All of them up to far above the last one, and x32's beyond 2**30."""
    column = KNOWN.index(machine)
    records = list(struct.iter_unpack("HBBI", filter_program(machine, joining=joining)))
    expected = {
        pair[column]: action
        for table, action in ((ALLOWED, ALLOW), (FORBIDDEN, ERRNO | EPERM))
        for pair in table.values()
    }
    if joining:
        expected[FORBIDDEN["setns"][column]] = ALLOW
    checked = {pair[column] for pair in CHECKED.values()}
    numbers = [*range(2000), *range(0x40000000, 0x40000000 + 1000), 0x7FFFFFFF, 0xFFFFFFFF]
    wrong = {
        number: answer
        for number in numbers
        if number not in checked
        and (answer := _answer(records, machine, number)) != expected.get(number, ERRNO | ENOSYS)
    }
    assert wrong == {}


def _answer(records: list[tuple[int, int, int, int]], machine: str, number: int) -> int:
    """Run a filter on a system call without arguments, as the kernel does."""
    data = {0: number, 4: {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]}
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = records[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            value = data.get(operand, 0)
        else:
            held = {0x15: value == operand, 0x35: value >= operand}[code]
            at += if_true if held else if_false


def test_no_number_is_given_twice() -> None:
    for column in (0, 1):
        numbers = [
            pair[column]
            for table in (ALLOWED, CHECKED, FORBIDDEN)
            for pair in table.values()
            if pair[column] is not None
        ]
        assert len(numbers) == len(set(numbers))


HEADERS = tuple(Path("/usr/include", each) for each in ("x86_64-linux-gnu/asm", "asm"))
"""Debian's linux-libc-dev has its there, which ``scripts/setup.sh test`` installs; then others'."""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this header is of another machine")
def test_the_numbers_are_the_kernels() -> None:
    header = next(each / "unistd_64.h" for each in HEADERS if (each / "unistd_64.h").exists())
    kernel = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    column = KNOWN.index(platform.machine())
    wrong = {
        name: pair[column]
        for table in (ALLOWED, CHECKED, FORBIDDEN)
        for name, pair in table.items()
        if name in kernel and int(kernel[name]) != pair[column]
    }
    assert wrong == {}


@pytest.mark.parametrize("machine", KNOWN)
def test_another_architectures_calls_kill_the_process(machine: str) -> None:
    """A 32-bit call on a 64-bit machine has other numbers: the table would not fit."""
    load, compare, refuse = list(struct.iter_unpack("HBBI", filter_program(machine)))[:3]
    assert load == (0x20, 0, 0, 4)
    assert compare[:3] == (0x15, 1, 0)
    assert refuse == (6, 0, 0, 0x80000000)


def test_an_architecture_without_a_table_gets_no_sandbox() -> None:
    with pytest.raises(SandboxUnavailable, match=r"'riscv64'.*x86-64"):
        filter_program("riscv64")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return the calls that succeeded and failed with the filter."""
    if platform.machine() not in KNOWN:
        pytest.skip("no filter for this machine, and so no sandbox")
    program = tmp_path_factory.mktemp("seccomp") / "filter"
    program.write_bytes(filter_program())
    printed = printed_by(sys.executable, "-c", PROBE, program, stdin=subprocess.DEVNULL)
    answer: dict[str, object] = json.loads(printed)
    return answer


MODES = (
    *("fchmod", "fchmodat", "fchmodat2", "mknodat", "openat", "unnamed"),
    *(("chmod", "mknod", "open", "creat") if platform.machine() == "x86_64" else ()),
)
REFUSED: dict[int, tuple[str, ...]] = {
    EPERM: (
        *("keyctl", "unshare user", "clone user", "clone net", "clone mount", "mount", "ptrace"),
        *("setns", "bpf", "raw", "raw non-blocking", "TIOCSTI"),
        *(f"{call} {bit}" for call in MODES for bit in (4000, 2000)),
        *(f"btrfs {number}" for number in ("5000940e", "50009418", "50009401", "50009417")),
    ),
    EINVAL: ("lease to read", "lease to write"),
    ENOSYS: (
        *("clone3", "io_uring_setup", "memfd_create", "memfd_secret", "mq_open", "seccomp"),
        *("landlock_create_ruleset", "get_mempolicy", "one above the list", "a negative one"),
        *("shmget", "semget", "msgget", "io_setup", "openat2"),
    ),
    EOPNOTSUPP: ("fallocate", "room 40305828", "room 4030582a", "room 40305839", "extent size"),
    EAFNOSUPPORT: (
        *(f"family {number}" for number in (40, 38, 17, 31, 9)),
        *(f"pair of family {number}" for number in (40, 17)),
    ),
}


@pytest.mark.full
@pytest.mark.parametrize(
    ("call", "errno"), [(call, errno) for errno, calls in REFUSED.items() for call in calls]
)
def test_it_refuses(found: dict[str, object], call: str, errno: int) -> None:
    assert found[call] == errno


@pytest.mark.full
def test_no_socket_lingers_and_other_options_work(found: dict[str, object]) -> None:
    """Its last close may be the hub's, to which a session can send it; ten minutes here."""
    assert found["SO_LINGER"] == "worked", "programs that ask for it go on"
    assert found["lingers"] == "00" * 8
    assert found["keepalive"] == 1


@pytest.mark.full
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is a door of x86-64 only")
def test_the_x32_numbers_are_closed(found: dict[str, object]) -> None:
    assert found["x32 getpid"] == ENOSYS


@pytest.mark.full
def test_what_python_needs_goes_on_working(found: dict[str, object]) -> None:
    working = (
        "allowed AF_UNIX",
        "allowed AF_INET",
        "netlink",
        "pair",
        "thread",
        "reserving room",
        "sticky",
    )
    assert {name: found[name] for name in working} == dict.fromkeys(working, "worked")
    assert found["allowed AF_INET6"] in ("worked", EAFNOSUPPORT), "some machines have none"
    assert found["reserved"] == 4096, "the C library writes it instead"
    assert found["lock"] == "worked"
    assert found["a mode that is not read"] == "worked"
    assert found["another request"] == ENOTTY, "as the kernel answers"
    assert (found["fork"], found["subprocess"], found["pool"]) == (5, "42\n", 3)
