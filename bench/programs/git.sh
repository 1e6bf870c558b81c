# History with its differences, and a pack of all objects with deltas found anew.
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git -C "$1" log --patch --stat --no-color >/dev/null
git -C "$1" pack-objects --all --stdout --no-reuse-delta --threads=1 -q </dev/null >/dev/null
