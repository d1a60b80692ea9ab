#!/usr/bin/env bash
# Makes the tools image from a base. It runs as root in a container of the base, beside tools.txt; the container is then
# committed. Certificates, proxies and index settings come from the environment and from files in a tmpfs: none of them
# may stay in the image.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
home=/opt/pyo3test

refuse() {
	echo "the base image $*" >&2
	exit 3
}
note() { echo "note: the base image $*" >&2; }

missing=()
for tool in python3 cargo rustc gcc tar timeout; do
	command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] || refuse "lacks ${missing[*]}: it has to bring Python, Rust, gcc and Debian's usual tools"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || refuse "has $(python3 --version): it must be 3.11 or later"
python3 -c 'import venv, ensurepip' 2>/dev/null || refuse "has a Python without venv or ensurepip: on Debian, install python3-venv in it"

# Only some crates, or some reports, need these.
command -v gdb >/dev/null || note "has no gdb: reports of hangs will lack native stacks"
python3 - <<'PYTHON' || note "has no Python library to link: crates with auto-initialize will not build"
import os, sys, sysconfig
get = sysconfig.get_config_var
folders = [get("LIBDIR") or "", os.path.join(get("LIBDIR") or "", get("MULTIARCH") or ""), get("LIBPL") or ""]
sys.exit(not any(os.path.exists(os.path.join(folder, get("LDLIBRARY") or "?")) for folder in folders))
PYTHON

# The user that builds and tests. Only the number matters: a base may already have a name for it.
getent group 1000 >/dev/null || groupadd --gid 1000 pyo3test
getent passwd 1000 >/dev/null || useradd --uid 1000 --gid 1000 --no-log-init --no-create-home --home-dir /home/pyo3test --shell /bin/bash pyo3test

# The tools are kept apart from the test environment. The pip from Python's ensurepip installs the locked pip.
echo "installing maturin, uv, pip and py-spy" >&2
python3 -m venv "$home/tools"
"$home/tools/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-input --require-hashes -r "$here/tools.txt"

bash "$here/agent.sh"

# The test environment stays empty here; each extension image fills its own.
python3 -m venv --without-pip /opt/venv
mkdir -p /home/pyo3test /src /cache/uv /cache/cargo /build "$home"/{out,built,vendored}
chown -R 1000:1000 /home/pyo3test /src /cache /build "$home"/{out,built,vendored} /opt/venv
