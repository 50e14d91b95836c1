"""loky keeps its workers between calls: only the first one is a start."""
from joblib import Parallel, delayed

import measure


def add_one(x):
    return x + 1


if __name__ == "__main__":
    began = measure.clock()
    Parallel(n_jobs=measure.WORKERS)([delayed(add_one)(1)])
    measure.say("first", measure.clock() - began)
