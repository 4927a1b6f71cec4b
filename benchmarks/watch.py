"""A stopwatch for what the scripts measure."""

from __future__ import annotations

import time


class Watch:
    """Wall and CPU seconds, with pauses."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.resume()

    def resume(self) -> None:
        """Let the clock run on."""
        self.since = time.perf_counter(), time.process_time()

    def pause(self) -> None:
        """Stop the clock and add up."""
        self.wall += time.perf_counter() - self.since[0]
        self.cpu += time.process_time() - self.since[1]
