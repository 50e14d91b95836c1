import multiprocessing

import measure


def add_one(x):
    return x + 1


def calls(n):
    for i in range(n):
        pool.apply(add_one, (i,))


if __name__ == "__main__":
    with multiprocessing.Pool(measure.WORKERS) as pool:
        measure.say("one", measure.each(measure.size(2000, 500), calls))
