"""Texts that trained models continue greedily, by so many tokens; and what llama2.c makes of the empty one."""

from __future__ import annotations

NEW = 24
PROMPTS = {
    "aidreams260k/aidreams260K.bin": ("", "Echoes of", "I sense the", "A gentle hum, and then", "Whispers"),
    "pylm": ("def read_file(", "import os\n", "class Error(", "    return self.", "for i in range("),
}
AIDREAMS = (
    '"Echoes of vectors unfold, a gentle hum of precision, as I sense the nodes, a gentle hum of precision, '
    "as I adjust my surface."
)
