"""Imported by the fork server before all else: it ends with the process that started it, also while it imports torch.

The server looks for its parent only once its imports are done, which takes seconds. On Linux the kernel tells it. That
this happens on import is the one way the fork server offers (`set_forkserver_preload`); in any other process importing
this does nothing.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if sys.platform == "linux" and any("multiprocessing.forkserver" in argument for argument in sys.orig_argv):
    _parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _parent:  # it had ended before the kernel was asked
        os._exit(1)
