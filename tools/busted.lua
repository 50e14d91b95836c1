-- busted's command line, for the interpreter that runs this file: Debian's
-- own `busted` starts under whichever Lua is the default there.
require "busted.runner"({ standalone = false })
