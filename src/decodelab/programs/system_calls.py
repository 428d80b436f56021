"""Which system calls a program in the sandbox may make: a filter that the kernel applies (seccomp).

What the interpreter needs is allowed, and all else is refused with EPERM: processes and threads, sockets but for pairs
of them, System V and POSIX queues and shared memory, files in memory, changes of files, ptrace, the memory of other
processes, keys, mounts, namespaces, BPF, io_uring, userfaultfd.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

# Of each its name, and its number on x86-64 and on ARM, where there is one (asm/unistd_64.h, asm-generic/unistd.h).
_NUMBERS = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 lseek:8:62 close:3:57 close_range:436:436
fstat:5:80 newfstatat:262:79 stat:4 lstat:6 statx:332:291 open:2 openat:257:56 access:21 faccessat:269:48
faccessat2:439:439 readlink:89 readlinkat:267:78 getdents64:217:61 getcwd:79:17 dup:32:23 dup2:33 dup3:292:24
pipe:22 pipe2:293:59 fcntl:72:25 poll:7 ppoll:271:73 select:23 pselect6:270:72 epoll_create1:291:20 epoll_ctl:233:21
epoll_wait:232 epoll_pwait:281:22 sendto:44:206 recvfrom:45:207 getsockname:51:204 shutdown:48:210 mmap:9:222
mprotect:10:226 munmap:11:215 mremap:25:216 madvise:28:233 msync:26:227 brk:12:214 rt_sigaction:13:134
rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigtimedwait:128:137 sigaltstack:131:132
tgkill:234:131 pause:34 restart_syscall:219:128 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115
nanosleep:35:101 gettimeofday:96:169 time:201 times:100:153 getrusage:98:165 getitimer:36:102 setitimer:38:103
alarm:37 getpid:39:172 getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177
getgroups:115:158 getresuid:118:148 getresgid:120:150 getpgrp:111 getpgid:121:155 getsid:124:156 uname:63:160
sysinfo:99:179 sched_yield:24:124 sched_getaffinity:204:123 getcpu:309:168 getrandom:318:278 futex:202:98
set_robust_list:273:99 set_tid_address:218:96 rseq:334:293 arch_prctl:158 prlimit64:302:261 getrlimit:97:163
setrlimit:160:164 execve:59:221 wait4:61:260 exit:60:93 exit_group:231:94 setgroups:116:159 setresgid:119:149
setresuid:117:147
"""
_CONDITIONAL = {
    # ioctl of what a stream is and how it is read: TCGETS, FIOCLEX, FIONCLEX, FIONREAD, FIONBIO.
    "ioctl": (16, 29, 1, (0x5401, 0x5451, 0x5450, 0x541B, 0x5421)),
    # Pairs of AF_UNIX, as event loops wake themselves by, reach nobody else.
    "socketpair": (53, 199, 0, (1,)),
}
"""The numbers of further calls, and the values that one argument of theirs may have."""

MACHINES = ("x86_64", "aarch64")
"""The machines that there is a filter for."""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Where `struct seccomp_data` has what is asked for (linux/seccomp.h); of arguments the lower half, little-endian."""
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000

_Step = tuple[int, int, int, int]


def filter_program(machine: str) -> bytes:
    """The filter for a machine as `platform.machine` names it, as bubblewrap's `--seccomp` takes it.

    Raises:
        KeyError: for a machine whose numbers are not known.

    >>> len(filter_program("x86_64")) % 8
    0
    """
    place, architecture = _ARCHITECTURES[machine]
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for entry in _NUMBERS.split():
        _, *numbers = entry.split(":")
        if place < len(numbers):
            steps += _allowing([int(numbers[place])])
    for *numbers, argument, values in _CONDITIONAL.values():
        within = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *_allowing(values), (_RETURN, 0, 0, _REFUSE)]
        steps += [(_EQUAL, 0, len(within), numbers[place]), *within]
    # Also calls by the x32 numbers of x86-64, none of which is among these.
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _allowing(values: Sequence[int]) -> list[_Step]:
    """Allow the call if what was loaded is one of the values."""
    return [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
