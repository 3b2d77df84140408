# What the original's README types; the work is done by cargo and scripts/.

PREFIX ?= /usr/local
DESTDIR ?=
# What `make install` installs: static or dynamic.
LINK ?= static
# What runs the programs on this machine, where they are for another kind: qemu-aarch64-static with LINK=static-arm64.
RUN ?=
SHARE = $(DESTDIR)$(PREFIX)/share

PROGRAMS = k8s-dqlite k8sd dqlite

.PHONY: help static dynamic install clean

help:
	@echo 'make static    the programs in bin/static: they need nothing but a Linux kernel'
	@echo 'make dynamic   the programs in bin/dynamic: they need libdqlite and OpenSSL where they run'
	@echo 'make install   the programs, completions, man pages and licences below DESTDIR/PREFIX (now $(DESTDIR)$(PREFIX));'
	@echo '               LINK=dynamic installs those of bin/dynamic; what is not built yet is built first'
	@echo 'make clean     removes bin/ and what cargo built'
	@echo 'make help      this text'
	@echo
	@echo 'Both builds install what is missing first, on Debian 12 and 13 and Ubuntu 24.04. See also scripts/run, scripts/test.'

static dynamic:
	@scripts/build $@

# Not built anew where it is there: `sudo make install` runs no compiler.
bin/static/k8s-dqlite bin/dynamic/k8s-dqlite:
	@scripts/build $(notdir $(patsubst %/k8s-dqlite,%,$@))

install: bin/$(LINK)/k8s-dqlite
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(SHARE)/bash-completion/completions' '$(SHARE)/zsh/site-functions' \
	    '$(SHARE)/fish/vendor_completions.d' '$(SHARE)/man/man1' '$(SHARE)/doc/k8s-dqlite/licences'
	set -e; for program in $(PROGRAMS); do \
	    built=bin/$(LINK)/$$program; \
	    install -m 0755 $$built '$(DESTDIR)$(PREFIX)/bin'; \
	    $(RUN) $$built --generate bash >"$(SHARE)/bash-completion/completions/$$program"; \
	    $(RUN) $$built --generate zsh >"$(SHARE)/zsh/site-functions/_$$program"; \
	    $(RUN) $$built --generate fish >"$(SHARE)/fish/vendor_completions.d/$$program.fish"; \
	    $(RUN) $$built --generate man >"$(SHARE)/man/man1/$$program.1"; \
	done
	install -m 0644 bin/$(LINK)/licences/* '$(SHARE)/doc/k8s-dqlite/licences'

clean:
	@scripts/build clean
