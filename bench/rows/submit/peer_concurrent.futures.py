from concurrent.futures import ProcessPoolExecutor

import measure


def add_one(x):
    return x + 1


def calls(n):
    for i in range(n):
        pool.submit(add_one, i).result()


if __name__ == "__main__":
    with ProcessPoolExecutor(measure.WORKERS) as pool:
        measure.say("one", measure.each(measure.size(1000, 300), calls))
