#!/usr/bin/env bash
# The journey of one model, as a transcript: every line after `$` is a command you can type yourself. `make demo` runs it.
# The hub is a plain OCI layout directory, so nothing else has to run; with a registry it reads `HOST/team/demo` instead.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# A user of its own: no configuration, cache or credentials of yours is read or written.
export HOME=$work/home XDG_CONFIG_HOME=$work/home/.config XDG_CACHE_HOME=$work/home/.cache
export XDG_STATE_HOME=$work/home/.local/state XDG_DATA_HOME=$work/home/.local/share
for name in $(env | sed -n 's/^\(BUNDLE_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
mkdir "$HOME"
hub=layout:$work/hub

say() { printf '\n# %s\n' "$*"; }
run() {
  local words
  printf -v words ' %q' "$@"
  printf '$%s\n' "${words//$work\//}"
  "$@"
}
# A command that must end with this exit code: the demo shows refusals too.
refused() {
  local expected=$1 code=0
  shift
  run "$@" || code=$?
  if [[ $code != "$expected" ]]; then echo "demo: expected exit code $expected, got $code" >&2; exit 1; fi
  printf '(exit code %s)\n' "$code"
}
# weights FILE SEED: a valid safetensors file of 4 MiB, the same bytes for the same seed.
weights() {
  python3 - "$1" "$2" <<'PY'
import json, random, struct, sys
path, seed = sys.argv[1], int(sys.argv[2])
size = 4 << 20
header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
header += b" " * (-len(header) % 8)
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size))
PY
}

say 'Alice has a model: a few small files and 4 MiB of weights'
mkdir alice && cd alice
printf '{"model_type": "toy", "hidden_size": 64}\n' >config.json
printf '# Toy\n\nA model to try things on.\n' >README.md
weights model.safetensors 1
run ls -l

say 'She makes the directory a bundle and says what belongs to it'
run bundle init "$hub:demo"
run bundle add config.json README.md model.safetensors
run bundle status

say 'The first version goes to the hub'
run bundle push --tag v1

say 'Bob gets it'
cd "$work"
run bundle clone "$hub:v1" bob

say 'Alice trains on: new weights, a note; the configuration stays'
cd "$work/alice"
weights model.safetensors 2
printf '\nTrained for longer.\n' >>README.md
run bundle status
run bundle diff
run bundle push

say 'Bob changed the configuration meanwhile. What he has not seen he cannot replace'
cd "$work/bob"
printf '{"model_type": "toy", "hidden_size": 128}\n' >config.json
refused 5 bundle push --tag demo

say 'He pulls: her weights and note come, his change stays; then his push goes through'
run bundle pull :demo
run bundle status
run bundle push --tag demo

say 'Alice pulls; only the configuration is transferred'
cd "$work/alice"
run bundle pull
run bundle verify --deep

say 'Both trees are the same, byte for byte'
cd "$work"
run diff -r --exclude=.modelops-bundle alice bob
echo 'identical'
