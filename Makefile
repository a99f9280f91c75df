# Each target sets up what it needs: see .ci/setup. PYTHON=python3.12 chooses another interpreter.
.PHONY: help demo check test vm bench lint deb wheel release recipes picture clean
.NOTPARALLEL:

help:
	@echo "make demo   a service that leaks and is restarted by memory-monitor, twice"
	@echo "make check  ruff, mypy, unit and process tests: after each edit (a minute and a half on two idle cores)"
	@echo "make test   every check and test that this machine can run"
	@echo "make vm     the tests in emulated machines with systemd, Debian 12 and 13 side by side;"
	@echo "            SUITE=trixie (or bookworm) runs one of them, TEST=name one file, file::test, or those of pytest -k"
	@echo "make bench  measures what it costs (as root; 25 minutes, on an idle machine)"
	@echo "make lint   only ruff and mypy"
	@echo "make deb    the Debian packages, in dist"
	@echo "make recipes  runs the recipes of docs in five separate machines (not part of make test)"
	@echo "make picture  draws docs/leak.svg again"
	@echo "make wheel  the wheel, in dist, for pip"
	@echo "make release  sdist, wheel, Debian packages, SBOM and checksums, in dist/release; TAG=v1.2.3 of that tag"
	@echo "make clean  removes what these created, except the images of the test machine (.vm)"

demo:
	@bash .ci/setup
	@.venv/bin/python demo/demo.py

check:
	@bash .ci/setup
	@.venv/bin/python .ci/test.py ruff mypy unit process

test:
	@bash .ci/setup test
	@.venv/bin/python .ci/test.py

bench:
	@bash .ci/setup bench
	@.venv/bin/python -m tests.bench.main

lint:
	@bash .ci/setup
	@.venv/bin/python .ci/test.py ruff mypy

deb:
	@bash .ci/setup deb
	@/usr/bin/python3 packaging/build_deb.py

vm:
	@bash .ci/setup test
	@.venv/bin/python .ci/test.py $${TEST:+--test "$$TEST"} $(if $(SUITE),vm-$(SUITE),vm-bookworm vm-trixie)

recipes:
	@bash .ci/setup test
	@python3 tests/vm/machine.py --suite bookworm+recipes -- tests/vm/recipes
	@python3 tests/vm/machine.py --suite bookworm+hooks -- tests/vm/recipes
	@python3 tests/vm/machine.py --suite trixie+containers -- tests/vm/recipes
	@python3 tests/vm/machine.py --suite bookworm+prometheus -- tests/vm/recipes
	@python3 tests/vm/machine.py --suite bookworm+ansible --deadline 5000 -- tests/vm/recipes

picture:
	@bash .ci/setup
	@.venv/bin/pip install --quiet -e '.[docs]'
	@.venv/bin/python docs/picture/draw.py

# Without build/lib: setuptools would put modules in that are no more.
wheel:
	@bash .ci/setup
	@rm -rf build/lib
	@.venv/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

release:
	@bash .ci/setup deb
	@bash .ci/setup
	@.venv/bin/python -m pip --disable-pip-version-check install --quiet -e '.[release]'
	@.venv/bin/python packaging/release.py $${TAG:+"$$TAG"}

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.vm/*' -prune -exec rm -rf {} +
