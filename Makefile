# One line each; `scripts/test` sets up .venv from nothing, the others expect `pip install -e '.[dev]'`.
.PHONY: check test bench snapshots demo

check: ## under a minute: static checks and the fast tests
	ruff check . && mypy && lint-imports && pytest -q -x tests/stages tests/snapshots tests/test_project.py

test: ## everything
	scripts/test

bench:
	edgesparse compile examples/digits.onnx --device host -o /tmp/digits.edge --force && edgesparse bench /tmp/digits.edge

snapshots:
	pytest -q tests/snapshots tests/onnx_nodes --update-snapshots

demo:
	edgesparse quickstart
