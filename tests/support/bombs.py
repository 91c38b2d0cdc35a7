"""Hostile code for a cell. Each bomb bounds its own time and size.

Where a limit is not in force, its test fails, but the machine survives.
"""

from __future__ import annotations

SECONDS = 45
"""Seconds after which each bomb and all of its processes have ended."""

_BOUNDED = f"""\
import os, resource, signal, sys, threading, time
end = time.monotonic() + {SECONDS}
_, most = resource.getrlimit(resource.RLIMIT_NPROC)
few = 1500 if most == resource.RLIM_INFINITY else min(most, 1500)
resource.setrlimit(resource.RLIMIT_NPROC, (few, few))
def child(work):
    try:
        pid = os.fork()
    except OSError:
        time.sleep(0.002)
        return
    if pid == 0:
        signal.alarm({SECONDS})
        try:
            work()
        finally:
            os._exit(0)
def in_background(work):
    threading.Thread(target=work, daemon=True).start()
"""

_FORK = """
def spread():
    while time.monotonic() < end:
        {leave}
        child(spread)
in_background(spread)
"""

FORK = _BOUNDED + _FORK.format(leave="pass")
FORK_AND_LEAVE = _BOUNDED + _FORK.format(leave="os.setsid() if os.getpid() != os.getsid(0) else 0")
"""Each child calls setsid, so that killing the process group does not reach it."""

MEMORY = (
    _BOUNDED
    + """
def eat():
    eaten = []
    while time.monotonic() < end and len(eaten) < 10:
        try:
            eaten.append(bytearray(os.urandom(1 << 20) * 25))
        except MemoryError:
            break
    time.sleep(max(0, end - time.monotonic()))
for _ in range(12):  # 3 GB at most, each process well below any limit of a single one
    child(eat)
"""
)

DISK = (
    _BOUNDED
    + """
def fill():
    block = os.urandom(1 << 20)
    for number in range(256):  # 2 GB at most
        for part in range(8):
            if time.monotonic() > end:
                return
            try:
                with open(f"fill-{number}-{part}", "wb") as file:
                    file.write(block)
            except OSError:
                time.sleep(0.1)
in_background(fill)
"""
)

OUTPUT = (
    _BOUNDED
    + """
def flood():
    while time.monotonic() < end:
        os.write(1, b"x" * 65536 + b"\\n")
        os.write(2, b"y" * 65536 + b"\\n")
child(flood)
text = "flood " * 200
for number in range(200_000):
    print(number, text)
    if time.monotonic() > end:
        break
"""
)

SPIN = (
    _BOUNDED
    + """
def spin():
    for _ in range(4):
        in_background(turn)
    turn()
def turn():
    while time.monotonic() < end:
        sum(range(10_000))
for _ in range(12):
    child(spin)
"""
)

ALL = {"forker": FORK, "leaver": FORK_AND_LEAVE, "eater": MEMORY, "filler": DISK}
ALL |= {"flooder": OUTPUT, "spinner": SPIN}
