"""What bench/plots.lua asks of multiprocessing: prints x, tab, y."""
import multiprocessing
import sys

import measure

STEPS = [0, 10, 30, 100, 300, 1000, 3000, 10000, 100000, 1000000]


def add_one(x):
    return x + 1


def burn(steps):
    x = 1.0
    for _ in range(steps):
        x = x * 0.999 + 0.001
    return x


def timed(*functions):
    """Medians of a few runs of each, alternating; more when they are short."""
    times = [[] for _ in functions]
    start = measure.clock()
    limit = measure.size(0.3, 0.1)
    for f in functions:
        f()
    while len(times[0]) < 5 or (len(times[0]) < 101
                                and measure.clock() < start + limit):
        for f, own in zip(functions, times):
            began = measure.clock()
            f()
            own.append(measure.clock() - began)
    medians = [measure.median(own) for own in times]
    return medians if len(medians) > 1 else medians[0]


def point(x, y):
    print(f"{x:.9g}\t{y:.9g}", flush=True)


def items():
    with multiprocessing.Pool(measure.WORKERS) as pool:
        for power in range(7):
            given = list(range(1, 10 ** power + 1))
            point(len(given), timed(lambda: pool.map(add_one, given)))


def cost(count):
    with multiprocessing.Pool(measure.WORKERS) as pool:
        for steps in STEPS[:-1]:
            n = max(1, 10000 // (steps + 1))
            each = timed(lambda: [burn(steps) for _ in range(n)]) / n
            n = count(each)
            loop, shared = timed(lambda: [burn(steps) for _ in range(n)],
                                 lambda: pool.map(burn, [steps] * n))
            point(each, shared / loop)


def workers(n, steps):
    for count in (1, 2, 3, 4, 6, 8, 12, 16):
        with multiprocessing.Pool(count) as pool:
            point(count, timed(lambda: pool.map(burn, [steps] * n)) / n)


def payload():
    with multiprocessing.Pool(1) as pool:
        for power in range(3, measure.size(28, 24) + 1, 5):
            text = b"x" * (1 << power)
            point(1 << power, timed(lambda: pool.apply(len, (text,))))


QUESTIONS = {
    "items": items,
    "cost": lambda: cost(lambda each: 100),
    "cost_long": lambda: cost(lambda each: max(2, int(0.05 // each))),
    "workers_coarse": lambda: workers(400, 10000),
    "workers_fine": lambda: workers(20000, 0),
    "payload": payload,
}

if __name__ == "__main__":
    QUESTIONS[sys.argv[1]]()
