"""The system-call filter of every sandbox, as a classic BPF program in plain Python.

It is an allow-list: the one table of system-call numbers, for x86-64 and 64-bit ARM. A call that is
not on it, also one of a later kernel, is answered with ENOSYS, as by a kernel that does not have
the call, so that libraries fall back; privileged calls get EPERM. ``ALLOWED`` follows the default
profile of Docker (moby/profiles, ``seccomp/default.json``), under which most Linux programs run,
without calls that no notebook needs: anonymous memory files (``memfd_create``, ``memfd_secret``),
System V and POSIX message queues, shared memory and semaphores of System V, ``io_setup``
(whose events the kernel limits for the whole machine), the clock's adjustment,
``fanotify``, file handles, ``landlock``, ``seccomp``, ``vmsplice``, ``sync`` and ``syncfs`` (which
write out all users' files), the mount table, and other processes' memory.

The same bytes are given to ``bwrap --seccomp`` (cold start) and to ``prctl`` in a process that
joins a sandbox (a zygote's child, which bwrap's own filter would not cover). Without the filter
``AF_VSOCK`` sockets work inside an unshared network namespace and ``keyctl`` reaches the host's
keyrings (security.md, "The sandbox"). An architecture without a table has no filter, and the
sandbox is refused.
"""

from __future__ import annotations

import functools
import platform
import struct
from collections.abc import Iterable, Mapping

from mograder.core.errors import SandboxUnavailable

Numbers = Mapping[str, tuple[int | None, int | None]]
"""Pairs (number on x86-64, number on aarch64) by name; None where the call does not exist."""


def _table(table: str) -> Numbers:
    """Return the pairs of a table of ``name:x86-64/aarch64``, with ``-`` for None."""
    found: dict[str, tuple[int | None, int | None]] = {}
    for word in table.split():
        name, _, pair = word.partition(":")
        x86, arm = (None if number == "-" else int(number) for number in pair.split("/"))
        found[name] = x86, arm
    return found


ALLOWED = _table("""
    accept:43/202 accept4:288/242 access:21/- alarm:37/- arch_prctl:158/- bind:49/200 brk:12/214
    cachestat:451/451 capget:125/90 capset:126/91 chdir:80/49 chown:92/-
    clock_getres:229/114 clock_gettime:228/113 clock_nanosleep:230/115 close:3/57
    close_range:436/436 connect:42/203 copy_file_range:326/285 dup:32/23 dup2:33/-
    dup3:292/24 epoll_create:213/- epoll_create1:291/20 epoll_ctl:233/21 epoll_pwait:281/22
    epoll_pwait2:441/441 epoll_wait:232/- eventfd:284/- eventfd2:290/19 execve:59/221
    execveat:322/281 exit:60/93 exit_group:231/94 faccessat:269/48 faccessat2:439/439
    fadvise64:221/223 fchdir:81/50 fchown:93/55
    fchownat:260/54 fdatasync:75/83 fgetxattr:193/10 flistxattr:196/13 flock:73/32
    fork:57/- fremovexattr:199/16 fsetxattr:190/7 fstat:5/80 fstatfs:138/44 fsync:74/82
    ftruncate:77/46 futex:202/98 futex_requeue:456/456 futex_wait:455/455 futex_waitv:449/449
    futex_wake:454/454 futimesat:261/- get_robust_list:274/100 get_thread_area:211/-
    getcpu:309/168 getcwd:79/17 getdents:78/- getdents64:217/61 getegid:108/177 geteuid:107/175
    getgid:104/176 getgroups:115/158 getitimer:36/102 getpeername:52/205 getpgid:121/155
    getpgrp:111/- getpid:39/172 getppid:110/173 getpriority:140/141 getrandom:318/278
    getresgid:120/150 getresuid:118/148 getrlimit:97/163 getrusage:98/165 getsid:124/156
    getsockname:51/204 getsockopt:55/209 gettid:186/178 gettimeofday:96/169 getuid:102/174
    getxattr:191/8 getxattrat:464/464 inotify_add_watch:254/27 inotify_init:253/-
    inotify_init1:294/26 inotify_rm_watch:255/28 ioprio_get:252/31 ioprio_set:251/30
    kill:62/129 lchown:94/- lgetxattr:192/9 link:86/- linkat:265/37
    listen:50/201 listxattr:194/11 listxattrat:465/465 llistxattr:195/12 lremovexattr:198/15
    lseek:8/62 lsetxattr:189/6 lstat:6/- madvise:28/233 map_shadow_stack:453/453
    membarrier:324/283 mincore:27/232 mkdir:83/- mkdirat:258/34
    mlock:149/228 mlock2:325/284 mlockall:151/230 mmap:9/222 mprotect:10/226 mremap:25/216
    mseal:462/462 msync:26/227 munlock:150/229 munlockall:152/231 munmap:11/215 nanosleep:35/101
    newfstatat:262/79 pause:34/- pidfd_open:434/434
    pidfd_send_signal:424/424 pipe:22/- pipe2:293/59 pkey_alloc:330/289 pkey_free:331/290
    pkey_mprotect:329/288 poll:7/- ppoll:271/73 prctl:157/167 pread64:17/67 preadv:295/69
    preadv2:327/286 prlimit64:302/261 pselect6:270/72 pwrite64:18/68 pwritev:296/70
    pwritev2:328/287 read:0/63 readahead:187/213 readlink:89/- readlinkat:267/78 readv:19/65
    recvfrom:45/207 recvmmsg:299/243 recvmsg:47/212 removexattr:197/14 removexattrat:466/466
    rename:82/- renameat:264/38 renameat2:316/276 restart_syscall:219/128 rmdir:84/-
    rseq:334/293 rt_sigaction:13/134 rt_sigpending:127/136 rt_sigprocmask:14/135
    rt_sigqueueinfo:129/138 rt_sigreturn:15/139 rt_sigsuspend:130/133 rt_sigtimedwait:128/137
    rt_tgsigqueueinfo:297/240 sched_get_priority_max:146/125 sched_get_priority_min:147/126
    sched_getaffinity:204/123 sched_getattr:315/275 sched_getparam:143/121
    sched_getscheduler:145/120 sched_rr_get_interval:148/127 sched_setaffinity:203/122
    sched_setattr:314/274 sched_setparam:142/118 sched_setscheduler:144/119 sched_yield:24/124
    select:23/- sendfile:40/71 sendmmsg:307/269 sendmsg:46/211 sendto:44/206
    set_robust_list:273/99 set_thread_area:205/- set_tid_address:218/96 setfsgid:123/152
    setfsuid:122/151 setgid:106/144 setgroups:116/159 setitimer:38/103 setpgid:109/154
    setpriority:141/140 setregid:114/143 setresgid:119/149 setresuid:117/147 setreuid:113/145
    setrlimit:160/164 setsid:112/157 setuid:105/146 setxattr:188/5 setxattrat:463/463
    shutdown:48/210 sigaltstack:131/132 signalfd:282/- signalfd4:289/74 splice:275/76 stat:4/-
    statfs:137/43 statx:332/291 symlink:88/- symlinkat:266/36 sync_file_range:277/84
    sysinfo:99/179 tee:276/77 tgkill:234/131 time:201/- timer_create:222/107
    timer_delete:226/111 timer_getoverrun:225/109 timer_gettime:224/108 timer_settime:223/110
    timerfd_create:283/85 timerfd_gettime:287/87 timerfd_settime:286/86 times:100/153
    tkill:200/130 truncate:76/45 umask:95/166 uname:63/160 unlink:87/- unlinkat:263/35
    uretprobe:335/- utime:132/- utimensat:280/88 utimes:235/- vfork:58/- wait4:61/260
    waitid:247/95 write:1/64 writev:20/66
""")
CHECKED = _table("""
    chmod:90/- clone:56/220 creat:85/- fallocate:285/47 fchmod:91/52 fchmodat:268/53
    fchmodat2:452/452 fcntl:72/25 ioctl:16/29 mknod:133/- mknodat:259/33 open:2/- openat:257/56
    setsockopt:54/208 socket:41/198 socketpair:53/199
""")
"""Allowed or refused by their arguments; ``fallocate`` is refused with EOPNOTSUPP."""
FORBIDDEN = _table("""
    acct:163/89 add_key:248/217 bpf:321/280 chroot:161/51 delete_module:176/106
    fanotify_init:300/262 finit_module:313/273 fsconfig:431/431 fsmount:432/432 fsopen:430/430
    fspick:433/433 init_module:175/105 ioperm:173/- iopl:172/- kcmp:312/272
    kexec_file_load:320/294 kexec_load:246/104 keyctl:250/219 lookup_dcookie:212/18
    modify_ldt:154/- mount:165/40 mount_setattr:442/442 move_mount:429/429
    name_to_handle_at:303/264 open_by_handle_at:304/265 open_tree:428/428
    perf_event_open:298/241 personality:135/92 pidfd_getfd:438/438 pivot_root:155/41
    process_madvise:440/440 process_vm_readv:310/270 process_vm_writev:311/271 ptrace:101/117
    quotactl:179/60 quotactl_fd:443/443 reboot:169/142 request_key:249/218 setns:308/268
    swapoff:168/225 swapon:167/224 syslog:103/116 umount2:166/39 unshare:272/97
    userfaultfd:323/282 vhangup:153/58
""")
"""Refused with EPERM, as by a kernel for a process without the needed privilege."""


_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EINVAL, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 22, 38, 95, 97
_NUMBER, _ARCHITECTURE, _ARG0, _ARG1, _ARG2, _ARG3 = 0, 4, 16, 24, 32, 40
"""Offsets in struct seccomp_data."""

_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}, as in the flags of ``clone``."""

_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK (libc lists the network interfaces with it)."""

_REQUESTS = (0x5412, 0x541C, 0x5000940E, 0x50009418, 0x50009401, 0x50009417)
"""Refused of ``ioctl``: input into a terminal (TIOCSTI, TIOCLINUX), and btrfs's BTRFS_IOC_SUBVOL_*
and SNAP_CREATE*: a subvolume is another device, whose files no workspace counts."""

_RESERVING = 0x5800
"""The type 'X' of requests, refused as ``fallocate`` is: FS_IOC_RESVSP* and ZERO_RANGE do the same
on any regular file, and FS_IOC_FSSETXATTR makes XFS reserve gigabytes for each write."""
_SOL_SOCKET, _SO_LINGER = 1, 13
_F_SETLEASE, _F_LATER = 1024, 1039
"""The second is the first command of ``fcntl`` after those of Linux 6.18."""

_SET_IDS = 0o6000
_MAKING = 0x400040
"""O_CREAT and __O_TMPFILE, with which ``open`` reads a mode."""

_JOINING = ("setns",)

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Audit number, and the index into the pairs of the table, by machine."""


@functools.cache
def filter_program(machine: str | None = None, *, joining: bool = False) -> bytes:
    """Return the filter for this machine's architecture as packed ``sock_filter`` records.

    ``joining`` also allows ``setns``, for a zygote: its children enter a sandbox before they
    install the full filter.
    Raises: :class:`SandboxUnavailable` on an architecture that has no table.
    """
    name = machine or platform.machine()
    if name not in _ARCHITECTURES:
        raise SandboxUnavailable(
            f"There is no system-call filter for the architecture {name!r}.",
            hint="Run the hub on x86-64 or 64-bit ARM.",
        )
    audit, column = _ARCHITECTURES[name]
    return b"".join(_program(audit, column, _JOINING if joining else ()))


def _program(audit: int, column: int, joining: tuple[str, ...]) -> Iterable[bytes]:
    yield _op(_LOAD, _ARCHITECTURE)
    yield _op(_JUMP_EQ, audit, 1, 0)
    yield _op(_RETURN, _KILL)
    yield _op(_LOAD, _NUMBER)
    for name, check in _CHECKS.items():
        number = CHECKED[name][column]
        if number is not None:
            yield _op(_JUMP_EQ, number, 0, len(check))
            yield from check
    actions = dict.fromkeys(_numbers(FORBIDDEN, column), _ERRNO | _EPERM)
    actions |= dict.fromkeys(_numbers(ALLOWED, column), _ALLOW)
    actions |= {number: _ALLOW for name in joining if (number := FORBIDDEN[name][column])}
    yield from _decision(_ranges(actions))


def _numbers(calls: Numbers, column: int) -> Iterable[int]:
    return (number for pair in calls.values() if (number := pair[column]) is not None)


def _ranges(actions: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return (first number, action) for each run of numbers with the same action.

    A number without an action gets ENOSYS, also an x32 number or one above the last.
    """
    ranges = [(0, actions.get(0, _ERRNO | _ENOSYS))]
    for number in range(1, max(actions) + 2):
        action = actions.get(number, _ERRNO | _ENOSYS)
        if action != ranges[-1][1]:
            ranges.append((number, action))
    return ranges


def _decision(ranges: list[tuple[int, int]]) -> list[bytes]:
    """Return instructions that find the action for the loaded number by bisection."""
    if len(ranges) == 1:
        return [_op(_RETURN, ranges[0][1])]
    middle = len(ranges) // 2
    low, high = _decision(ranges[:middle]), _decision(ranges[middle:])
    return [_op(_JUMP_GE, ranges[middle][0], len(low), 0), *low, *high]


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _no_set_ids(mode: int, flags: int | None = None) -> list[bytes]:
    """Refuse the set-user-id and set-group-id bits of a mode.

    They mean nothing inside, but another user of the machine could run the file as its owner, who
    is the hub's user if that is not root. ``openat2``, whose mode is in memory, is not allowed.
    """
    made = [] if flags is None else [_op(_LOAD, flags), _op(_JUMP_SET, _MAKING, 0, 3)]
    return [
        *made,
        _op(_LOAD, mode),
        _op(_JUMP_SET, _SET_IDS, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ]


_UNIX, _INET, _INET6, _NETLINK = _FAMILIES
_CHECKS: Mapping[str, list[bytes]] = {
    "openat": _no_set_ids(_ARG3, _ARG2),
    "open": _no_set_ids(_ARG2, _ARG1),
    "creat": _no_set_ids(_ARG1),
    "chmod": _no_set_ids(_ARG1),
    "fchmod": _no_set_ids(_ARG1),
    "fchmodat": _no_set_ids(_ARG2),
    "fchmodat2": _no_set_ids(_ARG2),
    "mknod": _no_set_ids(_ARG1),
    "mknodat": _no_set_ids(_ARG2),
    "clone": [  # without new namespaces
        _op(_LOAD, _ARG0),
        _op(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ],
    "socket": [  # of the four families; no raw and packet sockets, except for netlink
        _op(_LOAD, _ARG0),
        _op(_JUMP_EQ, _UNIX, 9, 0),
        _op(_JUMP_EQ, _NETLINK, 8, 0),
        _op(_JUMP_EQ, _INET, 2, 0),
        _op(_JUMP_EQ, _INET6, 1, 0),
        _op(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _op(_LOAD, _ARG1),
        _op(_AND, 0xF),
        _op(_JUMP_EQ, 3, 1, 0),  # SOCK_RAW
        _op(_JUMP_EQ, 10, 0, 1),  # SOCK_PACKET
        _op(_RETURN, _ERRNO | _EPERM),
        _op(_RETURN, _ALLOW),
    ],
    # Others need no pairs, and a request would load the family's module.
    "socketpair": [
        _op(_LOAD, _ARG0),
        _op(_JUMP_EQ, _UNIX, 1, 0),
        _op(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _op(_RETURN, _ALLOW),
    ],
    "ioctl": [
        _op(_LOAD, _ARG1),
        *(_op(_JUMP_EQ, each, len(_REQUESTS) + 3 - n, 0) for n, each in enumerate(_REQUESTS)),
        _op(_AND, 0xFF00),
        _op(_JUMP_EQ, _RESERVING, 1, 0),
        _op(_RETURN, _ALLOW),
        _op(_RETURN, _ERRNO | _EOPNOTSUPP),
        _op(_RETURN, _ERRNO | _EPERM),
    ],
    # It fills a disk faster than the monitor can notice. On EOPNOTSUPP, unlike ENOSYS, libc falls
    # back to writing the blocks itself.
    "fallocate": [_op(_RETURN, _ERRNO | _EOPNOTSUPP)],
    # SO_LINGER is ignored, which makes the last close of a socket wait. A session can send the
    # descriptor of such a socket over its Unix socket to the hub, and the hub would do that close:
    # it would stand still for as long as the sender likes.
    "setsockopt": [
        _op(_LOAD, _ARG1),
        _op(_JUMP_EQ, _SOL_SOCKET, 0, 3),
        _op(_LOAD, _ARG2),
        _op(_JUMP_EQ, _SO_LINGER, 0, 1),
        _op(_RETURN, _ERRNO),
        _op(_RETURN, _ALLOW),
    ],
    # Others wait up to 45 s for a lease on a file when they open it. A service user's sessions own
    # the environment's files, though they cannot write to them: one of them could stop the imports
    # of all others. Commands of later kernels are refused as well.
    "fcntl": [
        _op(_LOAD, _ARG1),
        _op(_JUMP_EQ, _F_SETLEASE, 1, 0),
        _op(_JUMP_GE, _F_LATER, 0, 1),
        _op(_RETURN, _ERRNO | _EINVAL),
        _op(_RETURN, _ALLOW),
    ],
}
