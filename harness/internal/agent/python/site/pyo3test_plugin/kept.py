"""Modules of the standard library as they were when the plugin was loaded, before any conftest or test.

Tests patch os.getpid, time.time or builtins.open, and some never undo it. pyfakefs replaces modules and functions among
the globals of all loaded modules. The plugin must report such tests like any other, so its modules import these names
from here. They are namespaces: no patch of a module changes them, and pyfakefs does not recognize them.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import binascii as binascii
    import gc as gc
    import io as io
    import json as json
    import marshal as marshal
    import os as os
    import select as select
    import signal as signal
    import struct as struct
    import threading as threading
    import time as time
else:
    binascii = SimpleNamespace(**vars(_binascii))
    gc = SimpleNamespace(**vars(_gc))
    io = SimpleNamespace(**vars(_io))
    json = SimpleNamespace(**vars(_json))
    marshal = SimpleNamespace(**vars(_marshal))
    os = SimpleNamespace(**{**vars(_os), "path": SimpleNamespace(**vars(_os.path))})
    select = SimpleNamespace(**vars(_select))
    signal = SimpleNamespace(**vars(_signal))
    struct = SimpleNamespace(**vars(_struct))
    threading = SimpleNamespace(**vars(_threading))
    time = SimpleNamespace(**vars(_time))
