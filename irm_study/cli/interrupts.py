"""Signals that end a command: Ctrl-C, SIGTERM (a batch system's, a container's) and SIGHUP (a terminal's that closes).

Each takes effect once, by the same way out. The handlers are the command line's; from Python none is installed.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

INSIST_AFTER = 2.0
"""Seconds after which a signal interrupts once more, if nothing is being closed for it, in the midst of anything."""
SOON = 0.01
"""Seconds after which it does where it was put off, or where Python said that it had no effect."""
NOT_WITHIN = ("sqlalchemy", "weakref", "_weakrefset")
"""Packages whose work is ended first: they would print the exception, or drop it."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGHUP is not everywhere."""


def interrupt_on_signals() -> tuple[list[int], Callable[[], None]]:
    """Have the signals raise KeyboardInterrupt, but for those that this process was started to ignore, as by nohup.

    A signal interrupts once more where it had no effect: Python drops an exception that is raised inside a callback of
    the interpreter, of a library that is being imported for instance. Where it says so (`sys.unraisablehook`: when an
    object ends that something refers to weakly, as torch's do by the thousand), that happens soon, and nothing is
    printed. Work on a database is ended first. Returns the signals that came, which grow, and what ends this.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number in SIGNALS if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    alarmed_before = signal.getsignal(signal.SIGALRM) if hasattr(signal, "setitimer") else None
    report_dropped = sys.unraisablehook
    came: list[int] = []
    insist_at: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in SIGNALS:
            came.append(number)
            if insist_at and now < insist_at[0]:
                return  # what is being closed is not to be cut short
            if not insist_at:
                insist_at.append(now + INSIST_AFTER)
        elif _interrupted(sys.exc_info()[1]):
            return _alarm(INSIST_AFTER)
        if now < insist_at[0] and hasattr(signal, "setitimer"):
            if _is_within(NOT_WITHIN, frame):
                return _alarm(SOON)
            _alarm(insist_at[0] - now)
        raise KeyboardInterrupt

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if came and issubclass(unraisable.exc_type, KeyboardInterrupt):
            _alarm(SOON)
        else:
            report_dropped(unraisable)

    def end() -> None:
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one that came just before is not to end the process
            _alarm(0)
            signal.signal(signal.SIGALRM, alarmed_before)
        sys.unraisablehook = report_dropped
        # Once interrupted, the process is about to say so and to end: a second signal must not cut that short.
        for number in handled:
            signal.signal(number, signal.SIG_IGN if came else before[number])

    for number in handled:
        signal.signal(number, interrupt)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, interrupt)
    sys.unraisablehook = dropped
    return came, end


def _interrupted(handled: BaseException | None) -> bool:
    """Whether the exception that is being handled is an interruption, or came of one."""
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None


def _is_within(packages: tuple[str, ...], frame: FrameType | None) -> bool:
    """Whether one of the calls that led to this frame is a package's."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in packages:
            return True
        frame = frame.f_back
    return False


def _alarm(seconds: float) -> None:
    """Have SIGALRM come after so many seconds; 0: not at all. It comes to the main thread, and starts no thread."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
