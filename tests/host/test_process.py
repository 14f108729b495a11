"""A signal to end is never lost, whatever the interpreter is doing when it arrives."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from support.commandline import ROOT

from kalshi_fills.host.process import signals_held

ENDED_IN_A_CALLBACK = """
import os, sys, time, weakref
from kalshi_fills.host.process import Endings

class Gone:
    pass

Endings().watch()
gone = Gone()
kept = weakref.ref(gone, lambda _: [os.kill(os.getpid(), int(sys.argv[1])), time.sleep(0.05)])
try:
    del gone
    time.sleep(30)
except KeyboardInterrupt as ended:
    print(str(ended).partition(";")[0])
"""

ENDED_WHILE_A_THREAD_STARTS = """
import os, sys, threading, time
from kalshi_fills.host.process import Endings

name = "_start_joinable_thread"
if not hasattr(threading, name):
    name = "_start_new_thread"
start = getattr(threading, name)

def start_and_be_ended(*words, **more):
    started = start(*words, **more)
    time.sleep(0.05)
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(0.05)
    return started

setattr(threading, name, start_and_be_ended)
Endings().watch()
try:
    threading.Thread(target=time.sleep, args=(0.5,)).start()
except KeyboardInterrupt as ended:
    print(str(ended).partition(";")[0])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "code", [ENDED_IN_A_CALLBACK, ENDED_WHILE_A_THREAD_STARTS], ids=["callback", "thread"]
)
def test_a_signal_that_arrives_in_an_odd_place_ends_the_run_in_silence(
    code: str, number: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, str(int(number))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=25,
    )

    said = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    assert (done.stdout, done.stderr) == (f"{said}\n", "")


def test_a_signal_that_is_held_back_arrives_once_afterwards() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with signals_held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGTERM, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored_while_signals_are_held() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_held():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
