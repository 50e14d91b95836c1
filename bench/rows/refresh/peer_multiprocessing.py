"""The old pool is closed and joined, and a new one forked."""
import multiprocessing

import measure

numpy = measure.need("numpy", "python3-numpy")

N = measure.size(1 << 27, 1 << 24)
array = pool = None


def first():
    return array[0]


def refresh(n):
    global pool
    if pool:
        pool.close()
        pool.join()
    pool = multiprocessing.get_context("fork").Pool(measure.WORKERS)
    pool.apply(first)


if __name__ == "__main__":
    array = numpy.ones(N)
    measure.say("time", measure.each(1, refresh, measure.size(5, 3)))
    pool.terminate()
