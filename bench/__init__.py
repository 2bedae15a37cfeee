"""Speed against other engines. Run from the project's folder: ``python -m bench.networks --help``."""
