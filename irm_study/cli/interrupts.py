"""Signals that end a command: Ctrl-C, SIGTERM (a batch system's, a container's) and SIGHUP (a terminal's that closes).

Each takes effect once, by the same way out. The handlers are the command line's; from Python none is installed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

INSIST_AFTER = 2.0
"""Seconds after which a signal interrupts once more."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGHUP is not everywhere."""


def interrupt_on_signals() -> tuple[list[int], Callable[[], None]]:
    """Have the signals raise KeyboardInterrupt, but for those that this process was started to ignore, as by nohup.

    A signal interrupts once more where it had no effect: Python drops an exception that is raised inside a callback of
    the interpreter, of a library that is being imported for instance. Returns the signals that came, which grow, and
    what ends this.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number in SIGNALS if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    main_thread = threading.get_ident()
    came: list[int] = []
    began: list[float] = []
    again: list[threading.Timer] = []

    def interrupt(number: int, frame: object) -> None:
        came.append(number)
        if not began:
            began.append(time.monotonic())
            if hasattr(signal, "pthread_kill"):
                again.append(threading.Timer(INSIST_AFTER, signal.pthread_kill, (main_thread, number)))
                again[0].daemon = True
                again[0].start()
        elif time.monotonic() < began[0] + INSIST_AFTER:
            return  # what is being closed is not to be cut short
        raise KeyboardInterrupt

    def end() -> None:
        for timer in again:
            timer.cancel()
        # Once interrupted, the process is about to say so and to end: a second signal must not cut that short.
        for number in handled:
            signal.signal(number, signal.SIG_IGN if came else before[number])

    for number in handled:
        signal.signal(number, interrupt)
    return came, end
