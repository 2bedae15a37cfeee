"""Language models in one form, before they are read: the visible order of passes that fuse what exporters write out.

Not a pass. None of it is for other models: the fused operators are those of opset 23.
"""

from __future__ import annotations

import onnx_ir as ir


def canonical(model: ir.Model) -> None:
    """In place."""
