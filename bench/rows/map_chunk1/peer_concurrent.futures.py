from concurrent.futures import ProcessPoolExecutor

import measure


def add_one(x):
    return x + 1


if __name__ == "__main__":
    with ProcessPoolExecutor(measure.WORKERS) as pool:
        measure.say("item", measure.each(
            measure.size(3000, 1000),
            lambda n: list(pool.map(add_one, range(n), chunksize=1)), 3))
