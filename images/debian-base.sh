#!/usr/bin/env bash
# Writes a tar of a root file system with Python, Rust and the diagnosis tools to standard output. It becomes the base
# image if no registry answers. It is made from Debian's packages, downloaded from where the host's apt gets them.
# Each phase is reported as a line on standard error. Exit status 3 means that this host cannot do it at all.
#
# PYTHON is the version of Python, 3.11 by default. The values of pins.env come from the environment, or else from that
# file beside this one. DEBIAN_SUITE and DEBIAN_PACKAGES take the place of what they say of that version.
set -euo pipefail

say() { echo "$*" >&2; }

python=${PYTHON:-3.11}
if [ -z "${BASE_PACKAGES:-}" ]; then
	# shellcheck source=images/pins.env
	. "$(dirname "$0")/pins.env"
fi
pin=DEBIAN_${python/./_}
read -r suite rust <<<"${!pin:-}"
suite=${DEBIAN_SUITE:-$suite}
if [ -z "$suite" ]; then
	say "pins.env names no release of Debian that has Python $python"
	exit 3
fi
packages=${DEBIAN_PACKAGES:-python$python python$python-venv libpython$python-dev $rust}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	say "a base from Debian's packages can be made by root on Debian only"
	exit 3
fi

# Everything is made in a folder of its own. Every process that this script starts holds the folder's lock through
# descriptor 8. If a later run can take that lock, all of them are gone, and it removes the folder, however they ended.
# Descriptor 9 guards the moment in which a new folder has no lock yet.
temporary=$(cd "${TMPDIR:-/tmp}" && pwd -P)
mask=$(umask)
umask 077 # a lock that others can open is one that they can hold
exec 9>/run/pyo3test-debian-base.lock
if ! flock -w 60 9; then
	say "another process holds /run/pyo3test-debian-base.lock for a minute: end it, then run again"
	exit 1
fi
mounted=$(printf '%b' "$(cut -d ' ' -f 5 /proc/self/mountinfo)")
for left in "$temporary"/pyo3test-debian-base.*; do
	[ -d "$left" ] && [ ! -L "$left" ] && [ -O "$left" ] || continue
	exec 8>>"$left/lock"
	flock -n 8 || continue
	if [[ $'\n'$mounted == *$'\n'"$left"/* ]]; then
		say "something is mounted in $left, which a run that was killed has left: unmount it, then remove the folder"
		continue
	fi
	say "removing $left, which a run that was killed has left"
	rm -rf --one-file-system -- "$left"
done
folder=$(mktemp -d "$temporary/pyo3test-debian-base.XXXXXXXXXX")
trap 'rm -rf --one-file-system -- "$folder"' EXIT
exec 8>"$folder/lock"
flock 8
exec 9>&-
umask "$mask"
chmod 755 "$folder" # apt reads as a user of its own

# apt ARGUMENT...: runs apt-get without questions, and without output unless it fails.
apt() {
	local output
	if ! output=$(DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null 2>&1); then
		tail -n 5 <<<"$output" >&2
		return 1
	fi
}
if ! command -v mmdebstrap >/dev/null; then
	say "installing mmdebstrap"
	needs=(mmdebstrap debian-archive-keyring)
	apt install -y --no-install-recommends "${needs[@]}" 2>/dev/null || {
		apt update || say "apt-get update had errors; trying all the same"
		apt install -y --no-install-recommends "${needs[@]}" || {
			say "a base from Debian's packages needs mmdebstrap, which apt-get could not install"
			exit 3
		}
	}
fi

# The host's own apt sources for Debian itself, changed to the wanted release if the host runs another. If the host
# names them in another way there are none, and mmdebstrap uses its default.
# shellcheck disable=SC1091 # it is the host's file
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
options=
compgen -G '/etc/apt/trusted.gpg.d/debian-archive-*' >/dev/null || options='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
sources=()
# shellcheck disable=SC2016 # apt's variables
fields='$(REPO_URI) $(RELEASE) $(COMPONENT)'
while read -r address its component; do
	case $component/$its in
	"main/$release" | "main/$release-updates" | "main/$release-security")
		sources+=("deb $options$address ${its/#$release/$suite} main")
		;;
	esac
done < <(apt-get indextargets --no-release-info --format "$fields" 'Created-By: Packages' | sort -u)

# Hooks run in a shell with the root folder of the new system as $1. The installation borrows the host's apt settings
# (proxy, certificates, credentials), and none of them stay.
# shellcheck disable=SC2016
hooks=(
	--setup-hook='apt-config dump Acquire >"$1/etc/apt/apt.conf.d/00host"'
	--setup-hook='cp -r /etc/apt/auth.conf /etc/apt/auth.conf.d "$1/etc/apt/" 2>/dev/null || true'
	--customize-hook='rm -rf "$1/etc/apt/apt.conf.d/00host" "$1/etc/apt/auth.conf" "$1/etc/apt/auth.conf.d"/*'
	--customize-hook='find "$1/etc/apt" -name "*.list" -exec sed -i "s#://[^/@ ]*@#://#" {} +'
	--customize-hook='for name in python python3 python$VERSION; do ln -s /usr/bin/python$VERSION "$1/usr/local/bin/$name"; done'
	--customize-hook='chroot "$1" dpkg-query --show >"$1/etc/pyo3test-base"'
	--customize-hook='rm -rf "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old'
)
slim=(
	--dpkgopt='path-exclude=/usr/share/man/*'
	--dpkgopt='path-exclude=/usr/share/doc/*'
	--dpkgopt='path-include=/usr/share/doc/*/copyright'
	--dpkgopt='path-exclude=/usr/share/locale/*'
	--dpkgopt='path-exclude=/usr/share/info/*'
	--dpkgopt='force-unsafe-io'
)

# mmdebstrap cleans up after itself only if its whole process group gets the signal to end. So it gets a group of its
# own, which is signalled when this script is, or when this script or its parent is suddenly gone. Its mounts are in a
# mount namespace, which ends with its processes. If there can be no namespace, mmdebstrap cannot mount either.
private=(unshare --mount)
"${private[@]}" true 2>/dev/null || private=()
say "making a base of Debian $suite with Python $python and Rust (about a minute)"
set -m
{
	trap : HUP INT TERM # waits for the end of the clean-up
	VERSION=$python TMPDIR=$folder ${private[@]+"${private[@]}"} mmdebstrap --variant=minbase --mode=root --include="${packages// /,},${BASE_PACKAGES// /,}" "${slim[@]}" "${hooks[@]}" \
		"$suite" - ${sources[@]+"${sources[@]}"} 2>&1 >&3 3>&- |
		(trap '' HUP INT TERM && exec sed --unbuffered -E '/^done$|^I: (done|success|running --|using|chroot arch|automatic|finding|removing)/d; s/^I: //' >&2 3>&-)
} 3>&1 </dev/null &
work=$!
set +m
end() { kill -TERM -- "-$work"; }
trap 'trap "" HUP INT TERM; end; wait "$work" || true; exit 1' HUP INT TERM
(
	trap - HUP INT TERM
	while sleep 1 && kill -0 "$work"; do
		if ! kill -0 "$$" || ! kill -0 "$PPID"; then end; fi
	done
) </dev/null >/dev/null 2>&1 &
watcher=$!
status=0
wait "$work" || status=$?
kill "$watcher" 2>/dev/null || true
exit "$status"
