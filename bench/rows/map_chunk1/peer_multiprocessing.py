import multiprocessing

import measure


def add_one(x):
    return x + 1


if __name__ == "__main__":
    with multiprocessing.Pool(measure.WORKERS) as pool:
        measure.say("item", measure.each(
            measure.size(20000, 5000),
            lambda n: pool.map(add_one, range(n), 1)))
