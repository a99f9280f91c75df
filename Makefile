# Each target sets up what it needs: see .ci/setup. PYTHON=python3.12 chooses another interpreter.
.PHONY: help demo test lint deb wheel clean
.NOTPARALLEL:

help:
	@echo "make demo   a service that leaks, asked to restart by memory-monitor, twice"
	@echo "make test   every check and test that this machine can run"
	@echo "make lint   ruff and mypy alone"
	@echo "make deb    the Debian package, in dist"
	@echo "make wheel  the wheel, in dist, for pip"
	@echo "make clean  removes what these made, but for the images of the test machine (.vm)"

demo:
	@bash .ci/setup
	@.venv/bin/python demo/demo.py

test:
	@bash .ci/setup test
	@.venv/bin/python .ci/test.py

lint:
	@bash .ci/setup
	@.venv/bin/python .ci/test.py ruff mypy

deb:
	@bash .ci/setup deb
	@/usr/bin/python3 packaging/build_deb.py

# Without build/lib: setuptools would put modules in that are no more.
wheel:
	@bash .ci/setup
	@rm -rf build/lib
	@.venv/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.vm/*' -prune -exec rm -rf {} +
