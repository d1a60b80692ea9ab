#!/usr/bin/env bash
# Makes sure that a Docker engine answers, and prints its address in DOCKER_HOST's form as the last line of standard
# output. All other output goes to standard error.
#
# It uses the first of these: DOCKER_HOST, the docker command's context, a socket at one of the usual places, a dockerd
# that it starts, a Docker that it installs from Debian's packages. The last two need root. It neither stops nor changes
# an engine that it did not start, and one that it started stays for the next run.
#
# It runs before anything else, on macOS too. So it is written for bash 3.2, and needs no tool but curl or perl, of
# which every system has one.
set -euo pipefail

log=/var/log/pyo3test-dockerd.log # of a dockerd that we start
start_deadline=60                 # seconds; a first start makes /var/lib/docker and takes about 2

say() { echo "engine: $*" >&2; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# answers HOST: reports whether an engine answers there within 5 seconds.
answers() {
	case $1 in
	unix://*)
		[ -S "${1#unix://}" ] || return 1
		if have curl; then
			curl --silent --fail --output /dev/null --max-time 5 --noproxy '*' --unix-socket "${1#unix://}" http://docker/_ping
		elif have perl; then # part of Debian's minimum, where curl is not
			perl -MIO::Socket::UNIX -e 'alarm 5; $s = IO::Socket::UNIX->new(Peer => shift) or exit 1;
				print $s "GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"; exit(<$s> !~ m{^HTTP/1.. 200})' "${1#unix://}"
		else
			die "needs curl to ask whether Docker runs: install it"
		fi
		;;
	tcp://* | http://* | https://*)
		have curl || die "needs curl to ask whether Docker runs at $1: install it"
		if [ -n "${DOCKER_TLS_VERIFY:-}" ]; then
			local certificates=${DOCKER_CERT_PATH:-$HOME/.docker}
			curl --silent --fail --output /dev/null --max-time 5 --cacert "$certificates/ca.pem" \
				--cert "$certificates/cert.pem" --key "$certificates/key.pem" "https://${1#*://}/_ping"
		else
			curl --silent --fail --output /dev/null --max-time 5 "http://${1#*://}/_ping"
		fi
		;;
	ssh://*) die "$1: ssh is not supported: forward the remote socket (ssh -L) and name the local one in DOCKER_HOST" ;;
	npipe://*) die "$1: this script cannot look there; call go test directly" ;;
	*) die "$1: not an address of a Docker engine (unix:///path, tcp://host:port)" ;;
	esac
}

found() {
	echo "$1"
	exit 0
}

# The user's choice is never replaced by something else.
if [ -n "${DOCKER_HOST:-}" ]; then
	answers "$DOCKER_HOST" && found "$DOCKER_HOST"
	die "DOCKER_HOST=$DOCKER_HOST: no Docker engine answers there: start it, or unset DOCKER_HOST"
fi
if have docker && { [ -n "${DOCKER_CONTEXT:-}" ] || grep -qs '"currentContext"' "${DOCKER_CONFIG:-$HOME/.docker}/config.json"; }; then
	context=$(docker context inspect --format '{{.Endpoints.docker.Host}}') || die "the docker command's context cannot be read"
	if [ -n "$context" ] && [ "$context" != unix:///var/run/docker.sock ]; then
		answers "$context" && found "$context"
		die "$context (the docker command's context): no Docker engine answers there: start it, or run 'docker context use default'"
	fi
fi

look() {
	local socket
	refused=
	for socket in /var/run/docker.sock "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/docker.sock" "/run/user/$(id -u)/docker.sock" \
		"${HOME:-/}/.docker/run/docker.sock" "${HOME:-/}/.docker/desktop/docker.sock"; do
		if answers "unix://$socket"; then
			found "unix://$socket"
		elif [ -S "$socket" ] && [ ! -w "$socket" ]; then
			refused=$socket
		fi
	done
}
look

# No engine is running. The rest is for root on Linux.
if [ -n "$refused" ]; then
	die "this user may not use $refused: add it to that socket's group (usually: sudo usermod -aG docker \$USER) and log in again"
elif [ "$(uname -s)" != Linux ]; then
	die "no Docker engine runs: install and start Docker Desktop (or colima), then try again"
elif [ "$(id -u)" != 0 ]; then
	die "no Docker engine runs: start one (with the docker package installed: sudo systemctl start docker), or set DOCKER_HOST"
fi
# shellcheck disable=SC1091 # it is the host's file
debian=$(. /etc/os-release 2>/dev/null && case " ${ID:-} ${ID_LIKE:-} " in *" debian "*) echo yes ;; esac) || true
if ! have dockerd && { [ "$debian" != yes ] || ! have apt-get; }; then
	die "no Docker engine runs and none is installed: install Docker (docker.com/engine/install), or set DOCKER_HOST to one elsewhere"
fi

# If two runs coincide, one installs and starts the engine, and the other finds it when it gets the lock. Descriptor 9
# is closed for every child, because a child that outlives this script would keep the lock.
exec 9>/run/pyo3test-engine.lock
if ! flock -n 9; then
	say "another process is starting Docker: waiting for it"
	flock -w 600 9 || die "another process has been starting Docker for 10 minutes (it holds /run/pyo3test-engine.lock)"
fi
look

# apt ARGUMENT...: runs apt-get without questions, and without output unless it fails.
apt() {
	local output
	if ! output=$(DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -qq -o DPkg::Lock::Timeout=300 "$@" 9>&- </dev/null 2>&1); then
		tail -n 5 <<<"$output" >&2
		return 1
	fi
}

# install PACKAGE...: installs packages. It updates the package lists only if the present ones do not suffice.
install() {
	say "installing $* from the host's packages"
	apt install -y --no-install-recommends "$@" 2>/dev/null && return
	apt update || say "apt-get update had errors; trying all the same"
	apt install -y --no-install-recommends "$@" || die "apt-get could not install $*"
}

if ! have dockerd; then
	packages=(docker.io iptables)
	[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] && packages+=(apparmor) # else no container starts
	install "${packages[@]}"
fi

# alive FILE PROGRAM: reports whether the process in a pid file is alive and is that program. If not, it removes the
# file: after a crash the pid may belong to another process by now, and dockerd would refuse to start, or wait forever.
alive() {
	local pid
	pid=$(cat "$1" 2>/dev/null) || return 1
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] && return 0
	rm -f "$1"
	return 1
}

started=
if [ -d /run/systemd/system ]; then
	say "starting docker.service"
	systemctl start docker 9>&- || die "systemd could not start docker.service: see journalctl -u docker"
elif alive /var/run/docker.pid dockerd; then # installing may have started it
	say "dockerd runs already: waiting for it to answer"
else
	if ! grep -q ' /sys/fs/cgroup ' /proc/self/mounts; then # a bare sandbox; an init system would have done it
		have cgroupfs-mount || install cgroupfs-mount
		cgroupfs-mount 9>&-
	fi
	alive /var/run/docker/containerd/containerd.pid containerd || true
	say "starting dockerd (log: $log)"
	(cd / && umask 022 && exec setsid nohup dockerd </dev/null >"$log" 2>&1 9>&-) &
	started=$!
fi

end=$((SECONDS + start_deadline))
until answers unix:///var/run/docker.sock; do
	reason=
	if [ -n "$started" ] && ! kill -0 "$started" 2>/dev/null; then
		reason="dockerd ended at once"
	elif [ "$SECONDS" -ge "$end" ]; then
		reason="dockerd does not answer after $start_deadline s"
	fi
	if [ -n "$reason" ]; then
		[ -z "$started" ] || tail -n 10 "$log" >&2
		die "$reason${started:+: see $log}"
	fi
	sleep 0.1
done
found unix:///var/run/docker.sock
