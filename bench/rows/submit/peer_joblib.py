from joblib import Parallel, delayed

import measure


def add_one(x):
    return x + 1


def calls(n):
    for i in range(n):
        parallel([delayed(add_one)(i)])


if __name__ == "__main__":
    with Parallel(n_jobs=measure.WORKERS) as parallel:
        measure.say("one", measure.each(measure.size(200, 50), calls, 3))
