"""What a peer in Python is written with: bench/support/measure.lua again."""
import importlib
import os
import sys
import time

QUICK = os.environ.get("BENCH_QUICK") == "1"
WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
clock = time.perf_counter


def say(name, value, who=""):
    print(f"{name}\t{who}\t{value:.9g}", flush=True)


def need(module, package):
    """A module that not everyone has; without it there is no figure."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"!\t\t{package}", flush=True)
        sys.exit(0)


def size(full, quick):
    return quick if QUICK else full


def median(values):
    return sorted(values)[(len(values) - 1) // 2]


def each(n, f, runs=None):
    """Seconds for each of n: f(n) once, then the median of a few."""
    f(n)
    times = []
    for _ in range(runs or size(5, 3)):
        began = clock()
        f(n)
        times.append((clock() - began) / n)
    return median(times)
