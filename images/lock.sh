#!/usr/bin/env bash
# Locks the newest versions of what the *.in files name, with hashes, for Python 3.11 and later on all platforms. It
# uses uv at the version locked in tools.txt, and needs Python 3 with venv, and the network.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

awk '/^[^ ]/ { wanted = /^uv==/ } wanted' tools.txt >"$work/uv.txt"
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$work/uv.txt"
for list in tools pytest lint; do
	"$work/venv/bin/uv" pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes \
		--output-file "$work/$list.txt" "$list.in"
done
for list in tools pytest lint; do
	changes=$(diff -U0 <(grep '==' "$list.txt") <(grep '==' "$work/$list.txt") | grep '^[-+][^-+]' || true)
	echo "$list.txt: ${changes:-nothing newer}"
	cat "$work/$list.txt" >"$list.txt"
done
