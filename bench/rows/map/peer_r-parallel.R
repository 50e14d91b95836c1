# mclapply: forks for each call, an equal share for each core.
source("bench/support/measure.R")
library(parallel)

n <- if (quick) 100000 else 300000
items <- as.numeric(seq_len(n))
say("table", each(n, function(n)
  mclapply(items, function(x) x + 1, mc.cores = workers)))
