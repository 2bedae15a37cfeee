# One line each; `scripts/test` sets up .venv from nothing, the others expect `pip install -e '.[dev]'`.
.PHONY: check test bench snapshots demo

check: ## under a minute: static checks and the fast tests
	ruff check . && mypy && lint-imports && pytest -q -x tests/stages tests/snapshots tests/test_project.py

test: ## everything
	scripts/test

bench:
	python -m bench.networks --models mobilenet_v1 --sparsity 0,0.7,0.9 --patterns block:4x1 --json /tmp/bench.json --force

snapshots:
	pytest -q tests/snapshots tests/onnx_nodes --update-snapshots

demo:
	edgesparse quickstart
