"""The files that an unfinished trial goes on from. They stand in its folder until its record does, and never in it."""

from __future__ import annotations

#: What training has come to: model, optimiser, random states, history (training/fit.py).
CHECKPOINT = "checkpoint.pt"
#: Scores of what was evaluated, of one trained state (training/kept.py).
EVALUATED = "evaluated.pt"
#: Features of the training clips, where they are encoded once (training/kept.py).
ENCODED = "encoded.pt"

UNFINISHED = (CHECKPOINT, EVALUATED, ENCODED)
