"""Runs a command and says what it cost: seconds, CPU seconds and peak memory of all its processes together.

Usage: measure.py ROUNDS TIMEOUT COMMAND...

Prints one line: median wall, CPU and MiB over the rounds, or what went wrong. CPU is that of the command and of
whatever it waited for. Memory is the sum of the proportional sets of its processes, looked at every 20 ms: pages that
several processes share are counted once. Programs that go on in the background (ssh's masters) are in
the memory, and not in the CPU.
"""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time


def proportional_kib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def family(mark):
    """Processes of the measured command: the mark is in the environment of all it starts."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                if mark in environ.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def watch(mark, stop, peak):
    while not stop.wait(0.02):
        peak[0] = max(peak[0], sum(map(proportional_kib, family(mark))))


def once(command, timeout, with_memory):
    mark = f"MEASURED_{os.getpid()}_{time.monotonic_ns()}"
    environment = dict(os.environ, **{mark: "1"})
    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=watch, args=(mark.encode(), stop, peak))
    if with_memory:
        watcher.start()
    with open(os.environ.get("MEASURE_LOG", os.devnull), "ab") as log:
        began = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                 start_new_session=True)
        timer = threading.Timer(timeout, lambda: os.killpg(child.pid, signal.SIGKILL))
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    if with_memory:
        stop.set()
        watcher.join()
    for pid in family(mark.encode()):
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError:
            pass
    return child.returncode, wall, usage.ru_utime + usage.ru_stime, peak[0] / 1024


def main():
    rounds, timeout, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    walls, cpus, peak = [], [], 0
    # Looking at the memory costs time on a small machine: it has a round of its own, which also warms up.
    code, _, _, peak = once(command, timeout, with_memory=True)
    for _ in range(rounds):
        if code:
            print(f"ended with {code}")
            return
        code, wall, cpu, _ = once(command, timeout, with_memory=False)
        walls.append(wall)
        cpus.append(cpu)
    print(f"ended with {code}" if code else f"{statistics.median(walls):.2f} {statistics.median(cpus):.2f} {peak:.0f}")


main()
