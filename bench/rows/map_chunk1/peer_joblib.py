from joblib import Parallel, delayed

import measure


def add_one(x):
    return x + 1


if __name__ == "__main__":
    with Parallel(n_jobs=measure.WORKERS, batch_size=1) as parallel:
        measure.say("item", measure.each(
            measure.size(2000, 500),
            lambda n: parallel(delayed(add_one)(i) for i in range(n)), 3))
