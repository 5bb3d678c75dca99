"""Run one command and tell what it cost; a program of its own (`python -I -S launch.py FD COMMAND…`).

A child's peak memory begins with that of the process it was forked from (Linux counts the old image at `exec`), so commands
are started from an interpreter that has imported nothing. What is measured ends when the command does; the start of this
interpreter is not in it. Writes `wall cpu maxrss exit-code` to the file descriptor FD, seconds and the unit of the system.
"""

import os
import sys
import time


def main() -> None:
    """Run `sys.argv[2:]`."""
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    began = time.perf_counter()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime
    os.write(report, f"{wall} {cpu} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}".encode())


if __name__ == "__main__":
    main()
