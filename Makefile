# tidemill: `make` builds, `make help` lists the rest.

LUA ?= lua5.4
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
BUILD ?= build

# It is a word of commands here, and the library and tidemill.pc have it.
ifneq ($(filter-out 0 1,$(words $(PREFIX)))$(filter-out /%,$(PREFIX)),)
$(error PREFIX must be an absolute path without spaces (it is '$(PREFIX)'))
endif

VERSION := $(shell sed -n 's/^.define TM_VERSION "\(.*\)"/\1/p' \
             include/tidemill.h)
SONAME := libtidemill.so.$(firstword $(subst ., ,$(VERSION)))

# pkg-config may be absent when this is read: whoever needs Lua goes through
# `deps` or install-deps.sh first, and the latter starts make again.
LUA_PC := $(shell for p in lua5.4 lua-5.4; do \
            pkg-config --exists $$p 2>/dev/null && echo $$p && break; done)
ifneq ($(LUA_PC),)
LUA_CFLAGS ?= $(shell pkg-config --cflags $(LUA_PC))
LUA_LIBS ?= $(shell pkg-config --libs $(LUA_PC))
else
LUA_CFLAGS ?= -I/usr/include/lua5.4
LUA_LIBS ?= -llua5.4
endif

# Plain C functions (tm.cfunction) need libffi's header now, and the library
# when the first is made: whoever links ours needs neither.
ifeq ($(shell pkg-config --exists libffi 2>/dev/null && echo yes),yes)
FFI_CFLAGS ?= -DTM_HAVE_FFI $(shell pkg-config --cflags libffi)
endif

# A sanitized build (asan, tsan) has Lua linked whole into the command, which
# then runs the specs: a sanitizer wants to be there before anything else.
ifdef SANITIZE
SANITIZER = -fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
            -fno-omit-frame-pointer
HOST_LIBS = -Wl,--whole-archive -l:liblua5.4.a -Wl,--no-whole-archive \
            -Wl,-E
SPEC_HOST = $(COMMAND)
CHECKED = $(COMMAND) $(C_TESTS)
else
HOST_LIBS = $(LUA_LIBS)
SPEC_HOST = $(LUA)
CHECKED = all $(C_TESTS)
endif

WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) $(CPPFLAGS) $(CFLAGS) \
             $(SANITIZER) -fPIC -fvisibility=hidden -pthread -MMD -MP \
             -Isrc -Iinclude
LUA_HEADERS = $(patsubst -I%,-isystem %,$(LUA_CFLAGS))
LIBS = -ldl -lm
LINK = $(CC) $(CFLAGS) $(SANITIZER) $(LDFLAGS) -pthread
ANY_MAKE = $(MAKE) --no-print-directory

CORE := $(wildcard src/base/*.c src/store/*.c src/run/*.c src/host/*.c)
BIND := $(wildcard src/bind/*.c)
LUA_FILES := $(filter-out %.d.lua,$(wildcard lua/tidemill/*.lua))
KERNEL_HEADER := include/tidemill_kernel.h
C_FILES := $(wildcard src/*.c src/*/*.[ch] include/*.h spec/c/*.[ch] \
             bench/*/*.[ch] bench/rows/*/*.c examples/*.c examples/*.cpp)
C_TESTS := $(patsubst spec/c/%.c,$(BUILD)/test/%,$(wildcard spec/c/test_*.c))

CORE_OBJECTS := $(CORE:src/%.c=$(BUILD)/obj/%.o)
BIND_OBJECTS := $(BIND:src/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/embed.o
OBJECTS := $(CORE_OBJECTS) $(BIND_OBJECTS)
COMMAND := $(BUILD)/tidemill
ARCHIVE := $(BUILD)/libtidemill.a
SHARED := $(BUILD)/libtidemill.so
MODULE := $(BUILD)/tidemill.so

all: $(COMMAND) $(ARCHIVE) $(SHARED) $(MODULE) ## the command, the libraries

help: ## this list
	@awk -F '## ' '/^[a-z-]+:.*## / { sub(/:.*/, "", $$1); \
	  printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# ---- building ----------------------------------------------------------

deps:
	@CC='$(CC)' LUA='$(LUA)' LUA_CFLAGS='$(LUA_CFLAGS)' \
	  sh tools/check-deps.sh build

$(BUILD)/embed.c: tools/embed.lua $(LUA_FILES) $(KERNEL_HEADER) lua/tidemill \
  | deps
	@echo "  LUA   $@"
	@mkdir -p $(@D)
	@$(LUA) tools/embed.lua $(LUA_FILES) $(KERNEL_HEADER) > $@

$(BUILD)/obj/%.o: src/%.c $(BUILD)/flags | deps
	@echo "  CC    $<"
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/embed.o: $(BUILD)/embed.c $(BUILD)/flags
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Only the binding and the command see Lua's headers.
$(BIND_OBJECTS) $(BUILD)/obj/main.o: ALL_CFLAGS += $(LUA_HEADERS)
# Where a library that is installed finds the command.
$(BUILD)/obj/run/worker_spawn.o: ALL_CFLAGS += \
  -DTM_COMMAND='"$(BINDIR)/tidemill"'
$(BUILD)/obj/run/worker_spawn.o: $(BUILD)/command
$(BUILD)/obj/bind/lcfunction.o: ALL_CFLAGS += $(FFI_CFLAGS)

$(ARCHIVE): $(OBJECTS) $(BUILD)/objects
	@echo "  AR    $@"
	@rm -f $@
	@$(AR) rcs $@ $(OBJECTS)

$(COMMAND): $(BUILD)/obj/main.o $(ARCHIVE)
	@echo "  LINK  $@"
	@$(LINK) -o $@ $^ $(HOST_LIBS) $(LIBS)

# A worker that was left behind in C code returns into the library some time:
# whoever closes it must not take it away from under that thread.
STAYS = -Wl,-z,nodelete

$(SHARED): $(ARCHIVE) src/libtidemill.map
	@echo "  LINK  $@"
	@$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs $(STAYS) \
	  -Wl,--version-script=src/libtidemill.map \
	  -o $@ $(OBJECTS) $(LUA_LIBS) $(LIBS)
	@ln -sf $(@F) $(@D)/$(SONAME)

# The module takes Lua from whoever loads it, and keeps its core to itself.
$(MODULE): $(ARCHIVE) src/module.map
	@echo "  LINK  $@"
	@$(LINK) -shared -Wl,--version-script=src/module.map $(STAYS) \
	  -o $@ $(OBJECTS) $(LIBS)

$(BUILD)/test/%: spec/c/%.c $(ARCHIVE) $(BUILD)/flags | deps
	@echo "  CC    $<"
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) $(LUA_HEADERS) -Ispec/c -MF $@.d -c -o $@.o $<
	@$(LINK) -o $@ $@.o $(ARCHIVE) $(LUA_LIBS) $(LIBS)

# Files that change only when what they say does.
remember = mkdir -p $(BUILD); echo '$(1)' | cmp -s - $@ || echo '$(1)' > $@
$(BUILD)/flags: FORCE
	@$(call remember,$(CC) $(CPPFLAGS) $(CFLAGS) $(LUA_CFLAGS) $(FFI_CFLAGS))
$(BUILD)/command: FORCE
	@$(call remember,$(BINDIR))
$(BUILD)/objects: FORCE
	@$(call remember,$(OBJECTS))

-include $(OBJECTS:.o=.d) $(BUILD)/obj/main.d $(C_TESTS:=.d)

# ---- trying it ---------------------------------------------------------

demo: ## install what is missing, build, solve a quantum well on every core
	@sh tools/install-deps.sh build ffi
	@$(ANY_MAKE) all
	@$(COMMAND) examples/quantum_well.lua

test: ## install what is missing, build, run all tests
	@sh tools/install-deps.sh build ffi test
	@$(ANY_MAKE) check

# What `test` runs; TESTS names some C tests or specs instead of all.
check: $(CHECKED)
	@$(LUA) tools/test.lua $(BUILD) $(SPEC_HOST) $(TESTS)

# Sanitizers of this age do not know layouts of more than 28 random bits.
FIXED_LAYOUT = $$(exec 2>/dev/null; \
  test "$$(cat /proc/sys/vm/mmap_rnd_bits || echo 0)" -gt 28 && \
  setarch -R true && echo setarch -R)

asan: ## the tests under address and undefined behaviour sanitizers
	@TIDEMILL_STRESS=small $(FIXED_LAYOUT) $(ANY_MAKE) check \
	  BUILD=$(BUILD)/asan SANITIZE=address,undefined

# The fuzzer has one thread, and a checker of threads keeps a note of each of
# its many thousand errors: it is left out.
tsan: TESTS ?= $(wildcard spec/c/test_*.c spec/*_spec.lua)
tsan: ## the tests under the thread sanitizer
	@TIDEMILL_STRESS=small TIDEMILL_SPEC_START=spawn $(FIXED_LAYOUT) \
	  $(ANY_MAKE) check BUILD=$(BUILD)/tsan SANITIZE=thread TESTS='$(TESTS)'

# ---- measuring ---------------------------------------------------------

# Debian's own Python knows the modules that Debian packages.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
WORKERS ?= $(shell nproc)
TIDEMILL ?= $(COMMAND)
BENCH = LUA_PATH="bench/?.lua;$${LUA_PATH:-;}" PYTHONPATH=bench/support \
        BENCH_PYTHON='$(PYTHON)' BENCH_LUA='$(LUA)' BENCH_QUICK='$(QUICK)' \
        BENCH_WORKERS='$(WORKERS)' TIDEMILL_THREADS='$(WORKERS)' \
        TIDEMILL_PROCESSES='$(WORKERS)'
NEW ?= $(BUILD)/bench/results.lua

bench: all ## beside others of the kind; ROWS="region map" QUICK=1
	@$(BENCH) $(LUA) bench/run.lua $(TIDEMILL) $(BUILD) $(ROWS)

bench-compare: ## two runs: OLD=file, NEW=file or the last
	@$(BENCH) $(LUA) bench/compare.lua '$(OLD)' '$(NEW)'

bench-counts: all ## instructions of single-threaded paths (valgrind)
	@$(BENCH) $(LUA) bench/counts.lua $(TIDEMILL) $(BUILD)

bench-plots: all ## how cost grows, as SVG in build/bench/plots
	@$(BENCH) $(TIDEMILL) bench/plots.lua $(BUILD)/bench/plots

bench-programs: all ## whole programs: plain loop and each kind of pool
	@$(BENCH) $(TIDEMILL) bench/programs/run.lua $(PROGRAMS)

bench-loads: all ## unusual loads, and what queued items and workers take
	@$(BENCH) $(LUA) bench/loads.lua $(TIDEMILL) $(LOADS)

bench-core: $(BUILD)/bench/core/region ## regions beside libgomp, without Lua
	@$<

# This one looks inside.
$(BUILD)/bench/core/%: bench/core/%.c $(ARCHIVE) $(BUILD)/flags
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -fopenmp -MF $@.d -o $@ $< $(ARCHIVE) $(LUA_LIBS) -lm

# ---- looking after it --------------------------------------------------

COMPILERS = $(foreach cc,gcc clang,$(if $(shell command -v $(cc)),$(cc)))

lint: ## layers, sizes, luacheck, warnings of each compiler, format
	@failed=0; \
	$(LUA) tools/lint.lua || failed=1; \
	luacheck -q --no-color $(wildcard lua spec examples tools bench) || failed=1; \
	for cc in $(COMPILERS); do \
	  $(ANY_MAKE) warnings CC=$$cc BUILD=$(BUILD)/lint/$$cc \
	    CFLAGS="-O2 -Werror" || failed=1; done; \
	sh tools/check-format.sh $(C_FILES) || failed=1; \
	exit $$failed

warnings: $(OBJECTS) $(BUILD)/obj/main.o $(C_TESTS)

format: ## lay out the C files as .clang-format says
	clang-format -i $(C_FILES)

docs: ## the API pages, as HTML in build/docs
	@mkdir -p $(BUILD)/docs
	@LUA='$(LUA)' sh tools/doxygen.sh $(BUILD)/docs/c
	@$(LUA) tools/docs.lua $(BUILD)/docs

clean: ## remove all that was built
	rm -rf $(BUILD)

# ---- installing --------------------------------------------------------

BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
DATADIR = $(PREFIX)/share/tidemill
MANDIR = $(PREFIX)/share/man/man1
LUA_CMODDIR = $(LIBDIR)/lua/5.4
HEADERS = $(wildcard include/*.h)
INSTALLED = $(BINDIR)/tidemill $(LIBDIR)/libtidemill.a \
  $(LIBDIR)/libtidemill.so $(LIBDIR)/$(SONAME) \
  $(LIBDIR)/libtidemill.so.$(VERSION) $(LIBDIR)/pkgconfig/tidemill.pc \
  $(HEADERS:include/%=$(INCLUDEDIR)/%) $(LUA_CMODDIR)/tidemill.so \
  $(DATADIR)/core.d.lua $(MANDIR)/tidemill.1

# What is below the prefix is named by it, so that pkg-config can move it.
below_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
$(BUILD)/tidemill.pc: src/tidemill.pc.in FORCE
	@sed -e 's|@PREFIX@|$(PREFIX)|' \
	  -e 's|@LIBDIR@|$(call below_prefix,$(LIBDIR))|' \
	  -e 's|@INCLUDEDIR@|$(call below_prefix,$(INCLUDEDIR))|' -e 's|@VERSION@|$(VERSION)|' \
	  -e 's|@LUA_LIBS@|$(strip $(LUA_LIBS))|' \
	  -e 's|@LIBS@|$(LIBS) -pthread|' $< > $@

install: all $(BUILD)/tidemill.pc ## into DESTDIR and PREFIX (/usr/local)
	install -d $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	install $(COMMAND) $(DESTDIR)$(BINDIR)/tidemill
	install -m 644 $(ARCHIVE) $(DESTDIR)$(LIBDIR)/libtidemill.a
	install -m 644 $(SHARED) $(DESTDIR)$(LIBDIR)/libtidemill.so.$(VERSION)
	ln -sf libtidemill.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libtidemill.so
	install -m 644 $(BUILD)/tidemill.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	install -m 644 $(HEADERS) $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 lua/tidemill/core.d.lua $(DESTDIR)$(DATADIR)/
	install -m 644 man/tidemill.1 $(DESTDIR)$(MANDIR)/
	@$(ANY_MAKE) install-module
	@test -n "$(DESTDIR)" || PATH=$$PATH:/sbin ldconfig 2>/dev/null || :

# The Lua module alone, for LuaRocks.
module: $(MODULE)

install-module: $(MODULE)
	install -d $(DESTDIR)$(LUA_CMODDIR)
	install -m 644 $(MODULE) $(DESTDIR)$(LUA_CMODDIR)/tidemill.so

# Folders that hold nothing any more go too, from the inside out, but for those
# that a system begins with.
FOLDERS = $(LUA_CMODDIR) $(LIBDIR)/lua $(LIBDIR)/pkgconfig $(LIBDIR) \
  $(INCLUDEDIR) $(DATADIR) $(MANDIR) $(PREFIX)/share/man $(PREFIX)/share \
  $(BINDIR) $(PREFIX)
KEPT = /usr/local $(addprefix /usr/local/,bin include lib share share/man)
uninstall: ## what install put there
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	@for d in $(filter-out $(KEPT),$(addprefix $(DESTDIR),$(FOLDERS))); do \
	  rmdir $$d 2>/dev/null || :; done
	@test -n "$(DESTDIR)" || PATH=$$PATH:/sbin ldconfig 2>/dev/null || :

# Into a scratch prefix; the hosts of examples/ are built against that.
check-install: ## install elsewhere, build and run the example hosts there
	@CC='$(CC)' CXX='$(CXX)' LUA='$(LUA)' BUILD='$(BUILD)' MAKE='$(MAKE)' \
	  sh tools/check-install.sh

.DELETE_ON_ERROR:
.PHONY: all help deps demo test check asan tsan bench bench-compare \
        bench-counts bench-plots bench-programs bench-loads bench-core lint \
        warnings format docs clean install module install-module uninstall \
        check-install FORCE
