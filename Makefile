# lease.h. Everything is built into build/; `make help` lists what there is to do.
CC ?= cc
CXX ?= c++
CFLAGS ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
PREFIX ?= /usr/local
BUILD ?= build
B := $(BUILD)
MAKEFLAGS += --no-print-directory
# V=1 shows the commands.
Q := $(if $(V),,@)

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual \
    -Wwrite-strings -Wundef -Wvla -Wformat=2
BOTH = -D_GNU_SOURCE -I. $(WARNINGS) $(INCLUDES) -MMD -MP $(CPPFLAGS)
C11 = -std=c11 $(BOTH) -Wstrict-prototypes -Wmissing-prototypes $(CFLAGS)
CXX17 = -std=c++17 $(BOTH) $(CXXFLAGS)

# MBEDTLS_DIR=DIR takes mbedTLS from a source tree in which `make lib` has run.
ifdef MBEDTLS_DIR
INCLUDES += -isystem $(MBEDTLS_DIR)/include
LDFLAGS += -L$(MBEDTLS_DIR)/library
endif
# llhttp is a library (Debian 13), or the C sources that Node.js is built from (Debian 12).
ifneq ($(wildcard /usr/include/llhttp.h /usr/local/include/llhttp.h),)
LLHTTP := -lllhttp
else
INCLUDES += -isystem /usr/share/include/llhttp
LLHTTP := $(patsubst %,$(B)/llhttp/%.o,api http llhttp)
endif
LLHTTP_O := $(filter %.o,$(LLHTTP))
# Kubeconfigs in YAML for the tool, where libyaml is.
ifneq ($(wildcard /usr/include/yaml.h /usr/local/include/yaml.h),)
YAML := -lyaml
$(B)/tools/lease/%.o: private CPPFLAGS += -DLEASE_YAML
$(B)/lease $(B)/unit/test_yaml: private LIBS += $(YAML)
endif
LIBS = $(LDFLAGS) $(filter -l%,$(LLHTTP)) -lmbedtls -lmbedx509 -lmbedcrypto -lpthread

programs = $(patsubst $(1)/%.c,$(B)/$(notdir $(1))/%,$(wildcard $(1)/$(2)))
# WRAP goes before every tested program: valgrind, say.
wrapped = $(foreach program,$(1),'$(WRAP) $(program)')
LEASE_O := $(patsubst %.c,$(B)/%.o,$(wildcard tools/lease/*.c))
DEVAPI_O := $(patsubst %.c,$(B)/%.o,$(wildcard tools/devapi/*.c))
EXAMPLES := $(call programs,examples,*.c)
ifneq ($(shell command -v $(CXX)),)
EXAMPLES += $(patsubst %.cc,$(B)/%,$(wildcard examples/*.cc))
endif
UNIT := $(call programs,tests/unit,test_*.c)
IO := $(call programs,tests/io,test_*.c)
LITMUS := $(call programs,tests/litmus,*.c)
SIM_O := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
EXHAUSTIVE_O := $(patsubst %.c,$(B)/%.o,$(wildcard tests/exhaustive/*.c) tests/sim/core.c)
WORLD_O := $(patsubst %.c,$(B)/%.o,$(wildcard tests/world/*.c) \
    $(filter-out %/main.c %/server.c %/ca.c,$(wildcard tools/devapi/*.c)))
SIM_SEEDS := --seeds tests/sim/seeds
SIM_ARGS ?= --elections 1000000
TOOLS := $(B)/lease $(B)/devapi $(B)/beat
SERVERLESS := $(addprefix $(B)/examples/,03_core_only 04_fencing 06_own_backend)
# The end-to-end scripts find the programs by these.
export LEASE_BIN = $(abspath $(B)/lease)
export DEVAPI_BIN = $(abspath $(B)/devapi)
export BEAT_BIN = $(abspath $(B)/beat)

all: $(TOOLS) $(EXAMPLES) ## build the lease tool, the development API server and the examples

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# What a fresh machine lacks is installed first; the makefile is read again after that.
demo: ## the main job: three candidates on a TLS API server, one killed, one frozen, one releasing
	@tools/setup
	@$(MAKE) $(TOOLS) $(B)/demo_tool
	@$(B)/demo_tool
test: ## everything that runs without a cluster, in a few minutes
	@tools/setup
	@+tools/suite '$(MAKE) unit' '$(MAKE) compile' '$(MAKE) sim' '$(MAKE) exhaustive' \
	    '$(MAKE) litmus' '$(MAKE) io' '$(MAKE) world' '$(MAKE) e2e'
test-cluster: $(TOOLS) ## against a real kube-apiserver and etcd (needs Go, builds them once)
	@tests/cluster/run

examples: $(EXAMPLES) ## build/examples/*
unit: $(UNIT) ## section by section, the implementation included
	@tools/suite $(call wrapped,$(UNIT))
io: $(IO) ## scripted transports and servers
	@tools/suite $(call wrapped,$(IO))
sim: $(B)/test_sim ## electors against a modelled server in virtual time; SEED=n tells one run
ifdef SEED
	@$(B)/test_sim --trace --seed $(SEED)
else
	@CC='$(CC)' tools/suite '$(B)/test_sim $(SIM_SEEDS) $(SIM_ARGS)' tests/sim/mutants
endif
exhaustive: $(B)/test_exhaustive ## all that two electors and one Lease can get into, to some depth
	@$(B)/test_exhaustive $(EXHAUSTIVE_ARGS)
soak: $(B)/test_sim ## the same on fresh seeds until it is stopped; what fails goes to build/soak
	@$(B)/test_sim $(SIM_SEEDS) --soak --seed "$$(date +%s)000000" --save $(B)/soak
world: $(B)/test_world ## whole clients against devapi's handler, over a simulated network; SEED=n
ifdef SEED
	@$(B)/test_world --trace --seed $(SEED)
else
	@tools/suite '$(WRAP) $(B)/test_world $(WORLD_ARGS)'
endif
world-mutants: $(B)/test_world ## mistakes in the client, which the world has to find
	@CC='$(CC)' WORLD_O='$(WORLD_O)' INCLUDES='$(INCLUDES)' LIBS='$(LLHTTP_O) $(LIBS)' \
	    tools/suite tests/world/mutants
litmus: $(LITMUS) ## many threads ask while leadership changes; the fences under every order
	@tools/suite $(call wrapped,$(LITMUS))
e2e: $(TOOLS) $(SERVERLESS) ## the tool against the development API server over TLS
	@tools/suite tests/e2e/run tests/e2e/examples.sh tests/e2e/conformance.sh
compile: $(LLHTTP_O) ## C11, C++17, every option, two compilers, exported symbols
	@CC='$(CC)' INCLUDES='$(INCLUDES)' LIBS='$(LLHTTP_O) $(LIBS)' tests/compile/run
static: ## build/static/lease and build/static/minimal with musl and mbedTLS 3.6
	@tools/setup static
	@tools/static
bench: $(TOOLS) $(B)/bench/renew $(B)/bench/questions static ## measures beside their budgets
	@tests/bench/bench.sh
coverage: ## what the tests run of each section; of the elector it must be all
	@+MAKE='$(MAKE)' tests/coverage/run
check: ## style and layering, as far as a machine can tell
	@tools/check

SANITIZED = -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
asan: ## unit, litmus, io, world and e2e with the address and undefined behaviour sanitizers
	@+$(MAKE) sanitized BUILD=build/asan \
	    CFLAGS='$(SANITIZED) -fsanitize=address,undefined'
tsan: ## the same with the thread sanitizer
	@+$(MAKE) sanitized BUILD=build/tsan CFLAGS='$(SANITIZED) -Wno-tsan -fsanitize=thread'
sanitized:
	@+tools/suite '$(MAKE) unit' '$(MAKE) litmus' '$(MAKE) io' \
	    '$(MAKE) world WORLD_ARGS="--runs 100"' '$(MAKE) e2e'
valgrind: all ## the same under valgrind
	@+WRAP='valgrind -q --error-exitcode=99 --leak-check=full' $(MAKE) sanitized

install: $(B)/lease ## lease.h and lease below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include
	install -m 755 $(B)/lease $(DESTDIR)$(PREFIX)/bin/lease
	install -m 644 lease.h $(DESTDIR)$(PREFIX)/include/lease.h
dist: ## build/lease.h-VERSION.tar.gz, and test it
	@tools/dist
clean: ## remove build/
	rm -rf build

define link
	@mkdir -p $(@D) && echo '  link $@'
	$(Q)$(CC) $(CFLAGS) -o $@ $(filter %.o,$^) $(LIBS)
endef
$(B)/lease: $(LEASE_O) $(LLHTTP_O)
	$(link)
$(B)/devapi: $(DEVAPI_O) $(LLHTTP_O)
	$(link)
$(B)/beat $(B)/demo_tool: LIBS =
$(B)/beat: $(B)/tests/e2e/beat.o
	$(link)
$(B)/demo_tool: $(B)/tools/demo.o
	$(link)
$(B)/examples/%: $(B)/examples/%.o $(LLHTTP_O)
	$(link)
$(B)/examples/07_cplusplus: private CC = $(CXX)
$(B)/%: $(B)/tests/%.o $(LLHTTP_O)
	$(link)
$(B)/test_sim: $(SIM_O) $(LLHTTP_O)
	$(link)
$(B)/test_exhaustive: $(EXHAUSTIVE_O) $(LLHTTP_O)
	$(link)
$(B)/test_world: $(WORLD_O) $(LLHTTP_O)
	$(link)
$(B)/%.o: %.c Makefile
	@mkdir -p $(@D) && echo '  cc   $<'
	$(Q)$(CC) $(C11) -c -o $@ $<
$(B)/%.o: %.cc Makefile
	@mkdir -p $(@D) && echo '  c++  $<'
	$(Q)$(CXX) $(CXX17) -c -o $@ $<
$(B)/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D) && echo '  cc   $<'
	$(Q)$(CC) $(CFLAGS) -DLLHTTP_STRICT_MODE=1 -isystem /usr/share/include/llhttp -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: all help demo test test-cluster examples unit io sim exhaustive soak world \
    world-mutants litmus e2e compile static bench check coverage asan tsan sanitized valgrind \
    install dist clean
