"""A pool of processes, default chunks."""
import multiprocessing

import measure


def add_one(x):
    return x + 1


if __name__ == "__main__":
    N = measure.size(1000000, 300000)
    items = [i + 0.5 for i in range(N)]
    with multiprocessing.Pool(measure.WORKERS) as pool:
        measure.say("table", measure.each(
            N, lambda n: pool.map(add_one, items)))
