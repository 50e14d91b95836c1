# A list of numbers would be R's table; a vector is what R would send.
source("bench/support/measure.R")
library(parallel)

cluster <- makeCluster(1)
floats <- as.list(seq_len(1e6) + 0.5)
say("time", each(1, function(n)
  clusterCall(cluster, function(x) sum(unlist(x)), floats), 3))
stopCluster(cluster)
