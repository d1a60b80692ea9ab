"""Modules of the standard library as they were when the plugin was loaded, before any conftest or test.

Tests patch os.getpid, time.time or builtins.open, and some never undo it. pyfakefs replaces modules and functions among
the globals of all loaded modules. The plugin must report such tests like any other, so its modules import these names
from here: they are namespaces, which no patch of a module changes and which pyfakefs does not recognize.
"""

from __future__ import annotations

import binascii as _binascii
import gc as _gc
import io as _io
import json as _json
import marshal as _marshal
import os as _os
import select as _select
import signal as _signal
import struct as _struct
import threading as _threading
import time as _time
from types import SimpleNamespace
from typing import Any

binascii: Any = SimpleNamespace(**vars(_binascii))
gc: Any = SimpleNamespace(**vars(_gc))
io: Any = SimpleNamespace(**vars(_io))
json: Any = SimpleNamespace(**vars(_json))
marshal: Any = SimpleNamespace(**vars(_marshal))
os: Any = SimpleNamespace(**{**vars(_os), "path": SimpleNamespace(**vars(_os.path))})
select: Any = SimpleNamespace(**vars(_select))
signal: Any = SimpleNamespace(**vars(_signal))
struct: Any = SimpleNamespace(**vars(_struct))
threading: Any = SimpleNamespace(**vars(_threading))
time: Any = SimpleNamespace(**vars(_time))
