"""Run under mpirun with one process more than workers."""
from mpi4py.futures import MPIPoolExecutor

import measure


def add_one(x):
    return x + 1


def calls(n):
    for i in range(n):
        pool.submit(add_one, i).result()


if __name__ == "__main__":
    with MPIPoolExecutor(measure.WORKERS) as pool:
        measure.say("one", measure.each(measure.size(300, 100), calls, 3))
