"""Emitted C of tiny models as files to be read: what a change does to generated code is seen in review."""
