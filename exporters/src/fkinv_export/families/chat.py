"""What dLLMs that are spoken to have in common: the sentence that asks for a text, and how they are sampled."""

from typing import Any

INSTRUCTION = {"text": "Describe a picture in one sentence.", "hints": "It may show: {hints}."}

DEFAULTS: dict[str, Any] = {
    "order": "confidence",
    "temperature": 0.7,  # the authors sample at 0, where all particles would be equal
    "length": 32,
    "minLength": 8,
    "steps": 32,
}
