"""Every benchmark runs on one thread: comparable between machines, and steadier on a shared one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
