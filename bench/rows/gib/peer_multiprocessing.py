"""The array is a global that forked workers inherit."""
import multiprocessing

import measure

numpy = measure.need("numpy", "python3-numpy")

SLICES = 64
N = measure.size(1 << 27, 1 << 24)
SIZE = N // SLICES
array = None


def slice_sum(i):
    return array[i * SIZE:(i + 1) * SIZE].sum()


if __name__ == "__main__":
    array = numpy.ones(N)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        measure.say("time", measure.each(
            1, lambda n: pool.map(slice_sum, range(SLICES), 1)) * (1 << 27) / N)
