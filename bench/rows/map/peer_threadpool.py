"""multiprocessing's pool of threads, default chunks."""
from multiprocessing.pool import ThreadPool

import measure


def add_one(x):
    return x + 1


N = measure.size(1000000, 300000)
items = [i + 0.5 for i in range(N)]
with ThreadPool(measure.WORKERS) as pool:
    measure.say("table", measure.each(N, lambda n: pool.map(add_one, items)))
