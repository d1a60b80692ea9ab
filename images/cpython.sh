#!/usr/bin/env bash
# Replaces a base's Python with a free-threaded build, which neither Debian nor Docker's official images offer. It is
# compiled from CPython's source, as root in a container of the base, which is then committed.
#
# cpython.sh VERSION SHA256 PACKAGE...: the release, the hash of its source, and Debian's packages to compile it with.
# They stay: what the interpreter links is among them. PLACES has addresses of the source, if not those below.
set -euo pipefail
umask 022
version=$1 sha256=$2
shift 2
series=${version%.*}
export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
say() { echo "$*" >&2; }

# Debian's archive keeps the source as it was released, so both places have the same file.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
read -ra places <<<"${PLACES:-}"
[ ${#places[@]} -gt 0 ] || places=(
	"https://www.python.org/ftp/python/$version/Python-$version.tar.xz"
	"https://deb.debian.org/debian/pool/main/p/python$series/python${series}_$version.orig.tar.xz"
)
found='' reasons=''
for place in "${places[@]}"; do
	say "downloading $place"
	if reason=$(python3 - "$place" "$folder/source.tar.xz" 2>&1 <<'PYTHON'
import shutil, sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=30) as response, open(sys.argv[2], "wb") as file:
        shutil.copyfileobj(response, file)
except OSError as error:
    sys.exit(str(error))
PYTHON
	); then
		if sha256sum --check --status <<<"$sha256  $folder/source.tar.xz"; then
			found=$place
			break
		fi
		reason="not the file that is pinned"
	fi
	reasons+="${reasons:+; }$place: $reason"
done
[ -n "$found" ] || {
	say "the source of Python $version cannot be had: $reasons"
	exit 3
}

say "installing what compiles Python $version"
apt-get update -qq
apt-get install -y -qq --no-install-recommends make xz-utils "$@" >/dev/null
rm -rf /var/lib/apt/lists/* /var/log/apt

say "compiling Python $version without a GIL (some minutes)"
tar -xJf "$folder/source.tar.xz" -C "$folder" --strip-components=1
cd "$folder"
# With a library to link, for crates with auto-initialize; it is found without ldconfig, as in Docker's official images.
{
	./configure --prefix=/usr/local --disable-gil --enable-shared --with-ensurepip=no LDFLAGS=-Wl,-rpath,/usr/local/lib &&
		make -j "$(nproc)" && make install
} >log 2>&1 || {
	tail -n 20 log >&2
	exit 1
}
# Names of functions stay, for native stacks; the rest of the debug information would be 100 MB.
strip --strip-debug "/usr/local/lib/libpython${series}t.so.1.0"
rm -rf "/usr/local/lib/python${series}t/test" "/usr/local/lib/python${series}t/idlelib" "/usr/local/lib/python${series}t"/config-*/*.a
for name in python python3; do ln -sf "python${series}t" "/usr/local/bin/$name"; done
modules='sys, ssl, ctypes, lzma, bz2, zlib, sqlite3, readline, curses, uuid, _uuid, dbm.gnu, venv, ensurepip'
python3 -c "import $modules; sys.exit(sys._is_gil_enabled())" || {
	say "the Python that was compiled lacks a module, or has a GIL"
	exit 1
}
dpkg-query --show >/etc/pyo3test-base
