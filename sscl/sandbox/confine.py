"""Give up rights for good: Landlock takes the files away, seccomp everything else, resource limits bound the rest.

All are inherited and cannot be undone, by code of whatever kind in this process. Linux 5.13 or newer. A fork server
gives up all that importing libraries does not need; its workers then give up the rest.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

# Python, numerical libraries and their threads need these, and nothing that reaches beyond this process.
ALLOWED = (
    "access arch_prctl brk clock_getres clock_gettime clock_nanosleep close dup dup2 dup3 epoll_create1 epoll_ctl "
    "epoll_wait eventfd2 exit exit_group faccessat faccessat2 fstat fstatfs futex getcpu getcwd "
    "getdents64 getegid geteuid getgid getpid getppid getrandom getrlimit getrusage get_mempolicy gettid "
    "gettimeofday getuid lseek lstat madvise membarrier mprotect mremap munmap nanosleep newfstatat "
    "pipe2 poll ppoll pread64 preadv pselect6 read readlink readlinkat readv restart_syscall rseq "
    "rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_getparam sched_getscheduler sched_yield "
    "select set_mempolicy set_robust_list set_tid_address sigaltstack stat statfs statx sysinfo times uname write "
    "writev "
)
# What a fork server needs besides, and its workers give up.
FORKING = (
    "clone close_range landlock_create_ruleset landlock_restrict_self pidfd_open prctl prlimit64 recvmsg seccomp "
    "sendmsg setsid"
)
CLONE_THREAD = 0x10000
DESCRIPTORS = 256  # that may be open
LIBRARIES = 64 << 30  # bytes of address space, most of it never touched
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN = 0x01, 0x20, 0x100
FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicates and flags of descriptors; not their owner, who can be sent signals
READABLE = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo")
DEVICES = ("/dev/null", "/dev/urandom", "/sys/devices/system/cpu", "/sys/devices/system/node")
PR_SET_PDEATHSIG = 1


def confine() -> None:
    """Leave this process and its forks nothing to write to and little to read; call it before there are threads.

    Raises:
        ImportError, RuntimeError, OSError: this machine has no Landlock or no libseccomp.
    """
    import landlock  # neither is there on other systems
    import pyseccomp

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files = landlock.Ruleset()
    reading = landlock.FSAccess.READ_FILE | landlock.FSAccess.EXECUTE
    here = Path(__file__).parent.parent  # this package's code
    for path in (*READABLE, *DEVICES, sys.prefix, f"{sys.base_prefix}/lib", str(here)):
        if os.path.isdir(path):
            files.allow(path, rules=reading | landlock.FSAccess.READ_DIR)
        elif os.path.exists(path):
            files.allow(path, rules=reading)
    files.apply()
    rules = _rules(pyseccomp)
    for name in FORKING.split():
        rules.add_rule(pyseccomp.ALLOW, name)
    rules.load()


def confine_more(memory: int) -> None:
    """Leave a fork of a confined process three descriptors, no other process, and no more than ``memory`` bytes."""
    import landlock
    import pyseccomp

    # A domain of its own, within the server's: processes of one domain may look at each other in /proc.
    landlock.Ruleset(restrict_rules=landlock.FSAccess.MAKE_SYM).apply()
    os.closerange(3, (1 << 31) - 1)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it does not outlive the server
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_AS, (memory + LIBRARIES, memory + LIBRARIES))
    rules = _rules(pyseccomp)
    rules.add_rule(pyseccomp.ALLOW, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, CLONE_THREAD))
    for process in (0, os.getpid()):
        reading = pyseccomp.Arg(2, pyseccomp.EQ, 0)  # limits, and not setting them
        rules.add_rule(pyseccomp.ALLOW, "prlimit64", pyseccomp.Arg(0, pyseccomp.EQ, process), reading)
    rules.add_rule(pyseccomp.ALLOW, "tgkill", pyseccomp.Arg(0, pyseccomp.EQ, os.getpid()))  # abort()
    rules.load()


def _rules(seccomp: Any) -> Any:
    """What server and workers may do."""
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    # Before Linux 6.2 Landlock does not keep a file that may be read from being emptied.
    keeping = {"open": seccomp.Arg(1, seccomp.MASKED_EQ, os.O_TRUNC, 0)}
    keeping["openat"] = seccomp.Arg(2, seccomp.MASKED_EQ, os.O_TRUNC, 0)
    for name in (*ALLOWED.split(), *keeping):
        try:
            rules.add_rule(seccomp.ALLOW, name, *([keeping[name]] if name in keeping else []))
        except OSError:  # not a system call of this kind of processor
            continue
    for command in FCNTL:
        rules.add_rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    for flag in (MAP_SHARED, MAP_ANONYMOUS):  # shared memory of no file, and stacks, are not counted by RLIMIT_DATA
        rules.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, flag | MAP_GROWSDOWN, 0))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be looked at; libraries fall back to clone
    return rules
