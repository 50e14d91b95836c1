--- The peers: which Debian package each comes from, how to tell whether it is
--- installed, and how its programs are run. A program is
--- bench/rows/ROW/peer_NAME.ext, and ours is bench/rows/ROW/ours.lua.

local shell = require "support.shell"

local PYTHON = os.getenv "BENCH_PYTHON" or "python3"
local LUA = os.getenv "BENCH_LUA" or "lua5.4"

-- Root may run MPI, and there may be more processes than cores.
local MPI = "env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
  .. "OMPI_MCA_rmaps_base_oversubscribe=1 "
  .. "OMPI_MCA_btl_vader_single_copy_mechanism=none "

---@class bench.peer
---@field package string that installs it
---@field probe string a command that succeeds where it is installed
---@field libs? string what a C or C++ program is linked with
---@field cflags? string
---@field run? string what stands before the program's name

local function python(package, module)
  return { package = package, run = PYTHON,
           probe = ("%s -c 'import %s'"):format(PYTHON, module) }
end

local function links(text, compiler, libs)
  return ("echo '%s' | %s -x %s - -o /dev/null %s"):format(text, compiler,
    compiler:find "++" and "c++" or "c", libs)
end

---@type table<string, bench.peer>
local peers = {
  libgomp = { package = "gcc", cflags = "-fopenmp",
              probe = links("int main(void) { return 0; }", "cc", "-fopenmp") },
  onetbb = { package = "libtbb-dev and g++", libs = "-ltbb",
             probe = links("#include <tbb/parallel_for.h>\nint main() {}",
               "c++", "-ltbb") },
  libuv = { package = "libuv1-dev", libs = "-luv",
            probe = links("#include <uv.h>\nint main(void) { return 0; }",
              "cc", "-luv") },
  luv = { package = "lua-luv", run = LUA,
          probe = LUA .. " -e 'require [[luv]]'" },
  lanes = { package = "none (luarocks install lanes)", run = LUA,
            probe = LUA .. " -e 'require [[lanes]]'" },
  multiprocessing = python("python3", "multiprocessing"),
  threadpool = python("python3", "multiprocessing"),
  ["concurrent.futures"] = python("python3", "concurrent.futures"),
  joblib = python("python3-joblib", "joblib"),
  mpi4py = python("python3-mpi4py", "mpi4py"),
  ["r-parallel"] = { package = "r-base-core", run = "Rscript --vanilla",
                     probe = "Rscript -e 'library(parallel)'" },
  machine = { package = "gcc", probe = "cc --version", libs = "-pthread" },
  lua = { package = "lua5.4", run = "", probe = "true" },
}

-- One process hands out the work and the others do it.
peers.mpi4py.run = ("%smpirun -n %d %s -m mpi4py.futures"):format(MPI,
  1 + (math.tointeger(tonumber(os.getenv "BENCH_WORKERS" or 2)) or 2), PYTHON)

-- What was asked before.
local known = {}

--- Whether a peer is installed; asked once.
---@param name string
---@return boolean
local function installed(name)
  if known[name] == nil then
    known[name] = shell.succeeds(peers[name].probe)
  end
  return known[name]
end

return { list = peers, installed = installed }
