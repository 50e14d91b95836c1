from concurrent.futures import ProcessPoolExecutor

import measure


def add_one(x):
    return x + 1


def start():
    began = measure.clock()
    with ProcessPoolExecutor(measure.WORKERS) as pool:
        pool.submit(add_one, 1).result()
        return measure.clock() - began


if __name__ == "__main__":
    start()
    measure.say("first", measure.median(
        [start() for _ in range(measure.size(9, 5))]))
