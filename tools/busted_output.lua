-- An output handler for busted that tools/test.lua reads: a line for each
-- test, begun before the test runs so that a crash names it; failures with
-- their message and traceback; at the end "N passed, N failed".

local pretty = require "pl.pretty"

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local passed, failed = 0, 0

  local function text_of(message)
    if message == nil then return "no message" end
    return type(message) == "string" and message or pretty.write(message)
  end

  local function show(failure)
    local place = failure.element.trace or {}
    io.write(string.format("    at %s:%s\n", place.short_src or "?",
                           place.currentline or "?"))
    local text = text_of(failure.message)
    local traceback = failure.trace and failure.trace.traceback
    if traceback then text = text .. "\n" .. traceback end
    io.write("    ", text:gsub("\n", "\n    "), "\n")
  end

  function handler.testStart(element)
    io.write(handler.getFullName(element), " ... ")
    io.flush()
    return nil, true
  end

  function handler.testEnd(_, _, status)
    if status == "success" or status == "pending" then
      passed = passed + (status == "success" and 1 or 0)
      io.write(status == "success" and "ok\n" or "skipped\n")
    else
      failed = failed + 1
      io.write("FAILED\n")
      local list = status == "error" and handler.errors or handler.failures
      show(list[#list])
    end
    io.flush()
    return nil, true
  end

  -- What goes wrong outside a test: a file that does not load, a setup.
  function handler.otherError(element)
    if element.descriptor ~= "it" then
      failed = failed + 1
      io.write(handler.getFullName(element), " FAILED\n")
      show(handler.errors[#handler.errors])
    end
    return nil, true
  end

  function handler.suiteEnd()
    io.write(string.format("%d passed, %d failed\n", passed, failed))
    io.flush()
    return nil, true
  end

  busted.subscribe({ "test", "start" }, handler.testStart)
  busted.subscribe({ "test", "end" }, handler.testEnd)
  busted.subscribe({ "error" }, handler.otherError)
  busted.subscribe({ "failure" }, handler.otherError)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
