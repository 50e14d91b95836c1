--- Where an example writes.

--- What comes before the names of files: the folder that was named, else
--- build/ where there is one, as in the source tree, else nothing: the working
--- directory.
---@param given? string
---@return string
return function(given)
  if given then return given .. "/" end
  local there = os.rename("build/", "build/")
  return there and "build/" or ""
end
