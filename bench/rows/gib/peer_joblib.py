"""joblib maps arrays of NumPy that are large from a file."""
from joblib import Parallel, delayed

import measure

numpy = measure.need("numpy", "python3-numpy")

SLICES = 64
N = measure.size(1 << 27, 1 << 24)
SIZE = N // SLICES


def slice_sum(a, i):
    return a[i * SIZE:(i + 1) * SIZE].sum()


if __name__ == "__main__":
    array = numpy.ones(N)
    with Parallel(n_jobs=4, batch_size=1) as parallel:
        measure.say("time", measure.each(1, lambda n: parallel(
            delayed(slice_sum)(array, i) for i in range(SLICES)),
            measure.size(3, 2)) * (1 << 27) / N)
