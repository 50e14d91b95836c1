import array
import multiprocessing

import measure


def touch(a):
    a[0] += 1
    return a


def calls(n):
    for _ in range(n):
        pool.apply(touch, (values,))


if __name__ == "__main__":
    values = array.array("d", bytes(1 << 20))
    with multiprocessing.Pool(1) as pool:
        measure.say("task", measure.each(measure.size(100, 30), calls))
