import multiprocessing

import measure

if __name__ == "__main__":
    floats = [i + 0.5 for i in range(1000000)]
    with multiprocessing.Pool(1) as pool:
        measure.say("time", measure.each(
            1, lambda n: pool.apply(sum, (floats,))))
