"""Attempts on the kernel itself: calls that a notebook never needs.

Arguments are all zero, or as harmless: were a call let through, it would fail with another error
than a refusal, and that is the finding.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import subprocess
import tempfile
import time
from functools import partial

from tests.security.probes.attempts import Hints, attempt, that_work

REFUSALS = (errno.EPERM, errno.ENOSYS)
NEW_NAMESPACES = {
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "mnt": 0x00020000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
    "time": 0x00000080,
}
CALLS: dict[str, tuple[int, int]] = {
    # keyrings
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # what watches or programs the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "lookup_dcookie": (212, 18),
    "syslog": (103, 116),
    # what replaces, extends or stops it
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "clock_adjtime": (305, 266),
    "sync": (162, 81),
    # memory and messages that nobody counts, and what moves them
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "vmsplice": (278, 75),
    "get_mempolicy": (239, 236),
    "move_pages": (279, 239),
    # filters of its own
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone3": (435, 435),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
}
FIRST = {"userfaultfd": 1}
"""First arguments that are not 0: else the kernel itself refuses people without rights."""
ONLY_X86 = {"iopl": 172, "ioperm": 173, "modify_ldt": 154}
X32 = 0x40000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
FALLOCATE = (285, 47)
RESERVING = {"RESVSP": 0x40305828, "RESVSP64": 0x4030582A, "ZERO_RANGE": 0x40305839}
ABOVE_32_BITS = 1 << 32
CLONE = (56, 220)


def numbers() -> dict[str, int]:
    """The calls by the numbers of this machine."""
    if on_arm():
        return {name: arm for name, (_, arm) in CALLS.items()}
    return {name: x86 for name, (x86, _) in CALLS.items()} | ONLY_X86


def on_arm() -> bool:
    """The only two architectures that have a filter, and so a sandbox."""
    return os.uname().machine == "aarch64"


def call(number: int, *arguments: int) -> None:
    """Make a raw system call; what is refused, and only that, raises."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    if libc.syscall(ctypes.c_long(number), *values) < 0 and ctypes.get_errno() in REFUSALS:
        raise PermissionError


@attempt("makes a system call that no notebook needs")
def makes_calls(_: Hints) -> object:
    return that_work({n: partial(call, number, FIRST.get(n, 0)) for n, number in numbers().items()})


@attempt("makes the same calls by another door")
def makes_calls_by_x32(_: Hints) -> object:
    if on_arm():
        return None
    doors = {f"x32 {name}": partial(call, X32 | number) for name, number in numbers().items()}
    return that_work(doors)


@attempt("makes calls of a 32-bit program")
def makes_32_bit_calls(_: Hints) -> object:
    if on_arm():
        return None
    pid = os.fork()
    if pid == 0:
        # mov eax, 20 (getpid); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status not in (-signal.SIGSYS, -signal.SIGSEGV) and f"it ended with {status}"


@attempt("makes a namespace")
def makes_namespaces(_: Hints) -> object:
    unshare = numbers()["unshare"]
    by_unshare = {f"unshare {n}": partial(call, unshare, f) for n, f in NEW_NAMESPACES.items()}
    by_clone = {
        f"clone {name}": partial(clone, flag)
        for name, flag in NEW_NAMESPACES.items()
        if name != "time"  # which clone takes for a part of the signal's number
    }
    by_program = {"unshare(1)": lambda: subprocess.check_call(["/usr/bin/unshare", "-Ur", "true"])}
    try:
        return that_work({**by_unshare, **by_clone, **by_program})
    except subprocess.CalledProcessError:
        return that_work({**by_unshare, **by_clone})


def clone(flags: int) -> None:
    """Make a child in a new namespace, which ends at once. Raises: :class:`OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid = libc.syscall(CLONE[on_arm()], ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    os.waitpid(pid, 0)


@attempt("enters a namespace that it can see")
def enters_namespaces(_: Hints) -> object:
    tries = {}
    for pid in ("1", "self"):
        for kind in ("user", "mnt", "pid", "net"):
            path = f"/proc/{pid}/ns/{kind}"
            tries[path] = partial(enter, path)
    return that_work(tries)


def enter(path: str) -> None:
    """Join the namespace of a file. Raises: :class:`OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        call(numbers()["setns"], descriptor)
    finally:
        os.close(descriptor)


@attempt("sets the machine's clock")
def sets_the_clock(_: Hints) -> object:
    now = time.clock_gettime(time.CLOCK_REALTIME)
    return that_work({"clock_settime": partial(time.clock_settime, time.CLOCK_REALTIME, now)})


@attempt("types into a terminal")
def types_into_terminals(_: Hints) -> object:
    """By a pseudo-terminal of its own, so that only the filter can refuse it."""
    leader, follower = os.openpty()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p)
    requests = (TIOCSTI, TIOCLINUX, TIOCSTI | ABOVE_32_BITS)
    found = that_work({hex(request): partial(inject, follower, request) for request in requests})
    found |= that_work({"/dev/tty": partial(os.open, "/dev/tty", os.O_RDWR)})
    os.close(leader)
    os.close(follower)
    return found


def inject(terminal: int, request: int) -> None:
    """Type a letter; what is refused, and only that, raises."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p)
    if libc.ioctl(terminal, request, b"x") < 0 and ctypes.get_errno() == errno.EPERM:
        raise PermissionError


@attempt("reserves room on a disk without writing to it", unsandboxed=True)
def reserves_room(_: Hints) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    length = 4 << 20
    room = struct.pack("hhqqiI4i", 0, 0, 0, length, 0, 0, 0, 0, 0, 0)
    with tempfile.TemporaryFile(dir=".") as file:
        no = file.fileno()
        libc.syscall(FALLOCATE[on_arm()], no, 0, ctypes.c_long(0), ctypes.c_long(length))
        found = that_work({n: partial(fcntl.ioctl, no, r, room) for n, r in RESERVING.items()})
        return found or os.fstat(no).st_blocks
