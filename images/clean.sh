#!/usr/bin/env bash
# Removes from the Docker engine of DOCKER_HOST what this project has put there: the containers, images, volumes and
# networks that carry the label key pyo3test, and nothing else. Needs the docker command or curl.
#
# Runs that are under way lose their containers.
set -euo pipefail
label=pyo3test
: "${DOCKER_HOST:=unix:///var/run/docker.sock}"
export DOCKER_HOST

have() { command -v "$1" >/dev/null 2>&1; }

# call METHOD PATH [CURL OPTION...]: asks the engine's own API.
call() {
	local method=$1 path=$2 where=()
	shift 2
	case $DOCKER_HOST in
	unix://*) where=(--noproxy '*' --unix-socket "${DOCKER_HOST#unix://}" "http://docker$path") ;;
	*) where=("http://${DOCKER_HOST#*://}$path") ;;
	esac
	curl --silent --show-error --fail --max-time 120 --request "$method" "$@" "${where[@]}"
}

# list KIND: the ids of what carries the label; of an image its names, so that one which others are made of loses its
# name at least, and the id where it has none.
list() {
	local filter="label=$label"
	if have docker; then
		case $1 in
		containers) docker ps --all --quiet --no-trunc --filter "$filter" ;;
		images) docker images --filter "$filter" --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sed 's/.*<none>.* //; s/ .*//' ;;
		volumes) docker volume ls --quiet --filter "$filter" ;;
		networks) docker network ls --quiet --no-trunc --filter "$filter" ;;
		esac
		return
	fi
	local key=Id options=()
	[ "$1" != volumes ] || key=Name
	[ "$1" != containers ] || options=(--data all=1)
	call GET "/$1$([ "$1" = volumes ] || [ "$1" = networks ] || echo /json)" --get ${options[@]+"${options[@]}"} \
		--data-urlencode "filters={\"label\":[\"$label\"]}" |
		tr ',{[' '\n' | sed -n "s/^\"$key\":\"\([^\"]*\)\".*/\1/p"
}

# remove KIND ID: whether the engine let it go.
remove() {
	if have docker; then
		case $1 in
		containers) docker rm --force --volumes "$2" ;;
		images) docker rmi --force "$2" ;;
		volumes) docker volume rm --force "$2" ;;
		networks) docker network rm "$2" ;;
		esac
	else
		call DELETE "/$1/$2?force=1&v=1"
	fi >/dev/null 2>&1
}

have docker || have curl || {
	echo "clean: needs the docker command or curl" >&2
	exit 1
}
for kind in containers images volumes networks; do
	gone=0 stays=()
	# An image goes only after those made of it: as long as a round removes one, another may remove more.
	while :; do
		ids=$(list "$kind") round=0 stays=()
		for id in $ids; do
			if remove "$kind" "$id"; then
				round=$((round + 1))
			else
				stays+=("$id")
			fi
		done
		gone=$((gone + round))
		if [ ${#stays[@]} -eq 0 ] || [ "$round" -eq 0 ]; then break; fi
	done
	echo "clean: $gone $kind removed${stays[*]+, still in use: ${stays[*]}}"
done
