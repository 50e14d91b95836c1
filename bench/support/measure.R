# What a peer in R is written with: bench/support/measure.lua again.
quick <- Sys.getenv("BENCH_QUICK") == "1"
workers <- as.integer(Sys.getenv("BENCH_WORKERS", "2"))

say <- function(name, value) cat(name, "\t\t", format(value, digits = 9), "\n",
                                 sep = "")

each <- function(n, f, runs = if (quick) 3 else 5) {
  f(n)
  times <- sapply(seq_len(runs), function(i) system.time(f(n))[["elapsed"]])
  median(times) / n
}
