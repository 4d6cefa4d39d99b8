"""How fast the machine is now: a loop of multiply-adds, timed on several CPUs at once.

The host of a virtual machine may run two of its CPUs on one core for milliseconds to seconds. Each
has half its speed then, and nothing within the machine says so: only work on both at once shows
it. A loop that another program takes time from is slow for the same reason as an engine would be.

Usage: pace.py CPU. For each line "N" on stdin, multiplies two matrices N times on that CPU and
answers with the milliseconds that took; between the lines it sleeps.
"""

import os
import subprocess
import sys
import time

SLOW = 1.15  # times the fastest loop; two CPUs on one core make it 2
LEAST_LOOP_MS = 8  # far above the time in which all CPUs have begun
TRIES = 5  # of each length, for one in a slow time looks longer than it is
FIRST_LOOPS = 20  # before the first turn, so that a fast one is among them
FIRST_PAUSE_S = 0.02
# Multiplying keeps the multiply-add units busy, and three such matrices stay in a core's caches.
MATRIX_SIZE = 128
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Loops:
    """Processes pinned to the first `threads` CPUs that this one may use, one each."""

    def __init__(self, threads):
        cpus = sorted(os.sched_getaffinity(0))[:threads]
        self.children = [subprocess.Popen([sys.executable, __file__, str(cpu)],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                          env={**os.environ, **ONE_THREAD}) for cpu in cpus]

    def time_ms(self, products):
        """The time that the slowest CPU takes for so many products of matrices."""
        for child in self.children:
            print(products, file=child.stdin, flush=True)
        return max([float(child.stdout.readline()) for child in self.children])

    def close(self):
        for child in self.children:
            child.kill()
            child.communicate()


class Pace:
    """The loop's times, and the fastest so far, which the others are compared with."""

    def __init__(self, loops, sleep=time.sleep):
        self.loops = loops
        self.products = 1
        while min(loops.time_ms(self.products) for _ in range(TRIES)) < LEAST_LOOP_MS:
            self.products *= 2
        self.best_ms = float("inf")
        for _ in range(FIRST_LOOPS):
            sleep(FIRST_PAUSE_S)
            self.loop_ms()

    def loop_ms(self):
        """The loop's time now."""
        time_ms = self.loops.time_ms(self.products)
        self.best_ms = min(self.best_ms, time_ms)
        return time_ms

    def slowdown(self, time_ms):
        """How many times as long as the fastest loop so far this one took."""
        return time_ms / self.best_ms

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loops.close()


def main():
    import numpy as np
    os.sched_setaffinity(0, {int(sys.argv[1])})
    left = np.full((MATRIX_SIZE, MATRIX_SIZE), 1 / MATRIX_SIZE, np.float32)
    right, product = np.ones_like(left), np.empty_like(left)
    for line in sys.stdin:
        start = time.perf_counter_ns()
        for _ in range(int(line)):
            np.matmul(left, right, out=product)
        print((time.perf_counter_ns() - start) / 1e6, flush=True)


if __name__ == "__main__":
    main()
