--- Medians and spreads: how every figure of the benchmarks is made.

local stats = {}

--- Timings that differ by less than this factor are the same.
stats.NOISE = 1.3

--- The value below which a share of the sorted list lies.
---@param sorted number[]
---@param share number 0 to 1
---@return number
function stats.quantile(sorted, share)
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

--- The median, and the largest value over the smallest.
---@param list number[] is sorted in place
---@return number median
---@return number spread 1 when all are the same
function stats.median(list)
  table.sort(list)
  local least, most = list[1], list[#list]
  return stats.quantile(list, 0.5), least > 0 and most / least or 1
end

return stats
