import multiprocessing

import measure

ITEMS, STEPS = 100, measure.size(100000, 30000)


def burn(i):
    x = i
    for _ in range(STEPS):
        x = x * 0.999 + 0.001
    return x


def serial(n):
    for i in range(ITEMS):
        burn(i)


if __name__ == "__main__":
    alone = measure.each(1, serial, 3)
    with multiprocessing.Pool(measure.WORKERS) as pool:
        measure.say("speedup", alone / measure.each(
            1, lambda n: pool.map(burn, range(ITEMS)), 3))
