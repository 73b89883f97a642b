PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?= docs/demo/forged.jpg
REPORT ?= demo_report.html

.PHONY: help demo test slow lint clean
help:
	@echo "make demo [IMAGE=photo.jpg]   scan a picture and write $(REPORT)"
	@echo "make test                     run the tests"
	@echo "make slow                     run the tests that take minutes each, such as trainings"
	@echo "make lint                     ruff and mypy"

# One stamp per kind of environment: the core for scanning, the development tools for tests.
$(VENV)/core.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# Exit codes 2 and 3 are answers, not failures; only 1 stops make.
demo: $(VENV)/core.stamp
	@$(BIN)/tamperscope scan "$(IMAGE)" --html "$(REPORT)"; code=$$?; \
	if [ $$code -eq 1 ]; then exit 1; fi; echo "report: $(REPORT) (exit code $$code)"

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2

slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 -m slow

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache $(REPORT)
