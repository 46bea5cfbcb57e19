# Shared by the scripts of this folder, which read it first; not to be run.
# shellcheck shell=bash

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# Read by the scripts that source this file.
# shellcheck disable=SC2034
state="$root/.dev" venv="$root/.dev/venv"

# say WORDS...: tells the reader what happens now, on standard error.
say() { printf '==> %s\n' "$*" >&2; }

# fail PROBLEM [CURE]: says both and ends the script.
fail() {
    printf 'error: %s\n' "$1" >&2
    [[ $# -lt 2 ]] || printf 'cure:  %s\n' "$2" >&2
    exit 1
}

# has COMMAND: whether it is installed.
has() { command -v "$1" >/dev/null 2>&1; }

# make_state: the folder .dev, for everything that is made here and not kept.
make_state() {
    mkdir -p "$state" 2>/dev/null || true
    [[ -w $state && (! -e .build || -w .build) ]] ||
        fail "$(id -un) may not write to .dev and .build in $root" \
            "give this folder to that user: chown -R $(id -un) $(printf %q "$root")"
}
