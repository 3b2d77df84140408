# What the original's README types; the work is done by cargo and scripts/.

PREFIX ?= /usr/local
DESTDIR ?=
# What `make install` installs: static or dynamic.
LINK ?= static

PROGRAMS = k8s-dqlite k8sd dqlite

.PHONY: help static dynamic install clean

help:
	@echo 'make static    the programs in bin/static: they need nothing but a Linux kernel'
	@echo 'make dynamic   the programs in bin/dynamic: they need libdqlite and OpenSSL where they run'
	@echo 'make install   the programs, completions and licences below DESTDIR/PREFIX (now $(DESTDIR)$(PREFIX));'
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
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/bash-completion/completions' \
	    '$(DESTDIR)$(PREFIX)/share/man/man1' '$(DESTDIR)$(PREFIX)/share/doc/k8s-dqlite/licences'
	for program in $(PROGRAMS); do install -m 0755 bin/$(LINK)/$$program '$(DESTDIR)$(PREFIX)/bin' || exit; done
	bin/$(LINK)/dqlite --generate bash >'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/dqlite'
	bin/$(LINK)/k8sd completion bash >'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/k8sd'
	bin/$(LINK)/dqlite --generate man >'$(DESTDIR)$(PREFIX)/share/man/man1/dqlite.1'
	install -m 0644 bin/$(LINK)/licences/* '$(DESTDIR)$(PREFIX)/share/doc/k8s-dqlite/licences'

clean:
	@scripts/build clean
