source("bench/support/measure.R")
library(parallel)

steps <- if (quick) 30000 else 100000
burn <- function(i) {
  x <- i
  for (k in seq_len(steps)) x <- x * 0.999 + 0.001
  x
}
burn(1)
serial <- each(1, function(n) lapply(1:100, burn), 3)
shared <- each(1, function(n) mclapply(1:100, burn, mc.cores = workers), 3)
say("speedup", serial / shared)
