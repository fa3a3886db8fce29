"""Wait for a process and see how much memory it took."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

WATCH_S = 0.05


def watched(process: subprocess.Popen[str]) -> tuple[float, int, str]:
    """Wait for a process: its seconds, the peak of its memory in bytes, and what it said last."""
    started, peak = time.monotonic(), 0
    while process.poll() is None:
        peak = max(peak, peak_of(process.pid))
        time.sleep(WATCH_S)
    seconds = time.monotonic() - started
    said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said[-2000:]}")
    return seconds, peak, said.strip().rpartition("\n")[2]


def peak_of(pid: int) -> int:
    """The most memory a process that runs has had so far."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
