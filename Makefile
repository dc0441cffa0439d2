# make boots a private tox and hands over: `make X` is `tox -e X`. What X can be: `make`, which asks tox.ini.
PYTHON ?= python3
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := list

# One word from the interpreter: its version when it will do; else why not, as `old-3.9`, `new-3.14`, `novenv` or nothing.
PROBE := import sys; v = sys.version_info[:2]; s = "%d.%d" % v; p = "old-" * (v < (3, 10)) + "new-" * (v > (3, 13)); \
	p or __import__("ensurepip"); print(p + s)
SAID := $(shell "$(PYTHON)" -c '$(PROBE)' 2>/dev/null || { "$(PYTHON)" -c '' 2>/dev/null && echo novenv; })
ifeq ($(SAID),novenv)
$(error $(PYTHON) has no venv: `apt-get install $(notdir $(PYTHON))-venv`, or choose another, `PYTHON=... make`)
else ifeq ($(SAID),)
$(error $(PYTHON) is not here: `apt-get install python3 python3-venv`, or choose another, `PYTHON=... make`)
else ifneq ($(filter old-% new-%,$(SAID)),)
$(error $(PYTHON) is Python $(lastword $(subst -, ,$(SAID))), wanted is 3.10 to 3.13: choose another, `PYTHON=python3.12 make`)
endif

BOOT := .make/$(SAID)
TOX := $(BOOT)/bin/python -m tox
$(shell test -x $(BOOT)/bin/python || rm -f $(BOOT)/booted)

list: $(BOOT)/booted
	@$(TOX) list

# FORCE, as `docs` and `tests` are folders too, and make would call them up to date.
%: FORCE $(BOOT)/booted
	@$(TOX) -e $@

# Made aside and moved in whole: an interrupted boot leaves nothing that looks booted, and two at once do no harm.
$(BOOT)/booted: requirements/make.txt
	@echo "make: booting tox into $(BOOT), once" >&2; mkdir -p .make && new=$$(mktemp -d .make/new.XXXXXX) && \
	trap 'rm -rf "$$new"' EXIT && trap 'exit 2' HUP INT TERM && "$(PYTHON)" -m venv "$$new" && \
	"$$new/bin/python" -m pip install -qq --disable-pip-version-check --only-binary :all: --require-hashes -r $< && \
	touch "$$new/booted" && { test $@ -nt $< || { rm -rf $(BOOT) && mv "$$new" $(BOOT); }; }

Makefile requirements/make.txt FORCE: ;
.PHONY: list
