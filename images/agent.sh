#!/usr/bin/env bash
# Compiles the harness's programs, which are in the folder of the agent: as a part of tools.sh, and for an image that comes
# from another version of the harness. It needs no network.
set -euo pipefail
umask 022
home=/opt/pyo3test

# Once here, because each container is new and would compile them again.
"$home/tools/bin/python" -m compileall -q "$home"/agent

# Beside them is the library that delays threads. It has parts for x86_64 and aarch64, and needs the C library's headers.
gcc -O2 -fPIC -shared -o "$home/agent/libpressure.so" "$home/agent/pressure.c" || {
	rm -f "$home/agent/libpressure.so"
	echo "note: the base image cannot compile pressure.c: repro --pressure has no delays" >&2
}
