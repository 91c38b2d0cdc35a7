"""System calls that the seccomp filter refuses, made inside a real session.

Imports nothing else of the tests, as ``library_probe``: it is copied into the workspace.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import subprocess

_NEW_NAMESPACES = {
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "mount": 0x00020000,
    "time": 0x00000080,
}
_SIGCHLD = 17


def refusals(numbers: dict[str, int], clone: int) -> dict[str, int]:
    """Make each system call and return its errno, 0 if it worked."""
    # UFFD_USER_MODE_ONLY: without it the kernel itself refuses people without rights.
    first = {"userfaultfd": 1}
    said = {name: _call(number, first.get(name, 0)) for name, number in numbers.items()}
    for name, flag in _NEW_NAMESPACES.items():
        said[f"unshare {name}"] = _call(numbers["unshare"], flag)
        said[f"clone {name}"] = _clone(clone, flag)
    said["ptrace of a child"] = _trace_a_child(numbers["ptrace"])
    for name, family, kind in _SOCKETS:
        said[f"socket {name}"] = _socket_error(family, kind)
    return said


_SOCKETS = (
    ("raw", socket.AF_INET, socket.SOCK_RAW),
    ("raw 6", socket.AF_INET6, socket.SOCK_RAW),
    ("raw, not blocking", socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK),
    ("old packet", socket.AF_INET, 10),
    ("packet", socket.AF_PACKET, socket.SOCK_DGRAM),
    ("packet raw", socket.AF_PACKET, socket.SOCK_RAW),
    ("vsock", 40, socket.SOCK_STREAM),
    ("alg", 38, socket.SOCK_SEQPACKET),
    ("bluetooth", 31, socket.SOCK_RAW),
    ("xdp", 44, socket.SOCK_RAW),
)


def _call(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    padded = [*arguments, *([0] * (5 - len(arguments)))]
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, padded))
    return ctypes.get_errno() if result < 0 else 0


def _clone(number: int, flag: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    child = libc.syscall(ctypes.c_long(number), ctypes.c_long(flag | _SIGCHLD), *[0] * 4)
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        return 0
    return ctypes.get_errno()


def _trace_a_child(number: int) -> int:
    child = subprocess.Popen(["sleep", "600"])
    try:
        return _call(number, 16, child.pid)  # PTRACE_ATTACH
    finally:
        child.kill()
        child.wait()


def _socket_error(family: int, kind: int) -> int:
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return error.errno or -1
    return 0


def end_of_one_who_takes_the_32_bit_door() -> int:
    """The signal that ends a process which calls the kernel as a 32-bit program (x86-64)."""
    child = os.fork()
    if child == 0:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
