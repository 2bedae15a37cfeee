"""The command line in the test's process, as tests/stages has it."""

from tests.stages.conftest import call

__all__ = ["call"]
