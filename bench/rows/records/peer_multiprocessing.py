import multiprocessing

import measure


def total(records):
    return sum(r["id"] + r["xs"][1] for r in records)


if __name__ == "__main__":
    records = [{"id": i, "name": f"n{i}", "xs": [1, 2, 3]}
               for i in range(100000)]
    with multiprocessing.Pool(1) as pool:
        measure.say("time", measure.each(
            1, lambda n: pool.apply(total, (records,))))
