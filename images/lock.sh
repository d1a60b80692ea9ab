#!/usr/bin/env bash
# Locks the newest versions of what the *.in files name, with hashes, for Python 3.11 and later on all platforms. It
# uses uv at the version locked in tools.txt, and needs Python 3 and the network.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

uv=$(../.ci/venv images/tools.txt:uv)/bin/uv
for list in tools pytest lint; do
	"$uv" pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes \
		--output-file "$work/$list.txt" "$list.in"
done
for list in tools pytest lint; do
	changes=$(diff -U0 <(grep '==' "$list.txt") <(grep '==' "$work/$list.txt") | grep '^[-+][^-+]' || true)
	echo "$list.txt: ${changes:-nothing newer}"
	cat "$work/$list.txt" >"$list.txt"
done
