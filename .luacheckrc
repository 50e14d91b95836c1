std = "lua54"
max_line_length = 100
exclude_files = { "lua/tidemill/core.d.lua" }
files["spec"] = { std = "lua54+busted" }
files[".busted"] = { std = "lua54" }
files["examples/host_simulator.lua"] = { read_globals = { "sim" } }
