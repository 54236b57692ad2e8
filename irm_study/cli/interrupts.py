"""Ctrl-C that takes effect, once: the handler of the command line's process. From Python none is installed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

INSIST_AFTER = 2.0
"""Seconds after which Ctrl-C interrupts once more."""


def insist_on_interrupts() -> Callable[[], None]:
    """Ctrl-C interrupts once more where it had no effect: Python drops an exception that is raised inside a callback
    of the interpreter, of a library that is being imported for instance. Returns what ends this."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not hasattr(signal, "pthread_kill"):
        return lambda: None
    again = threading.Timer(INSIST_AFTER, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    again.daemon = True

    began: list[float] = []

    def interrupt(number: int, frame: object) -> None:
        if not began:
            began.append(time.monotonic())
            again.start()
        elif time.monotonic() < began[0] + INSIST_AFTER:
            return  # what is being closed is not to be cut short
        raise KeyboardInterrupt

    def end() -> None:
        again.cancel()
        # Once interrupted, the process is about to say so and to end: a second Ctrl-C must not cut that short.
        interrupted = again.ident is not None
        signal.signal(signal.SIGINT, signal.SIG_IGN if interrupted else signal.default_int_handler)

    signal.signal(signal.SIGINT, interrupt)
    return end
