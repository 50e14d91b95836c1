"""An Array without a lock, which is the faster of the two."""
import multiprocessing

import measure

N = 1000


def reads(n):
    s = 0.0
    for _ in range(n // N):
        for i in range(N):
            s += shared[i]
    return s


if __name__ == "__main__":
    shared = multiprocessing.Array("d", N, lock=False)
    measure.say("read", measure.each(measure.size(500000, 100000), reads))
