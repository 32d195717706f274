#!/bin/sh
# run.sh BUILD_DIR [pytest args]: the tests on an emulated Raspberry Pi 4 and Pi 5.
#
# BUILD_DIR keeps the ARM system and packages for the next time. Needs gcc-aarch64-linux-gnu and qemu-user, and
# the script that builds and emulates: $EDGEKIT_ARM, or shared/tools/arm/arm.sh beside the checkout.
# $PYTHON is a Python 3.11 with build, setuptools, cython and wheel (python3 unless set).
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
emulate=${EDGEKIT_ARM:-$project/../shared/tools/arm/arm.sh}
python=${PYTHON:-python3}
[ -f "$emulate" ] || { echo "no $emulate: set EDGEKIT_ARM to the script that emulates" >&2; exit 1; }
mkdir -p "$1"; build=$(cd "$1" && pwd); shift

# arm.sh would install a fixed list; ours is that of pyproject.toml
"$python" "$project/tests/arm/packages.py" > "$build/packages.new"
if ! cmp -s "$build/packages.new" "$build/packages.txt"; then
  rm -rf "$build/site"
  platforms=""; for version in 2_34 2_31 2_28 2_27 2_26 2_17; do platforms="$platforms --platform manylinux_${version}_aarch64"; done
  # shellcheck disable=SC2086
  "$python" -m pip -q install --target "$build/site" --python-version 3.11 --implementation cp --only-binary=:all: \
    $platforms --platform manylinux2014_aarch64 -r "$build/packages.new"
  mv "$build/packages.new" "$build/packages.txt"
fi

cd "$project"
[ $# -gt 0 ] || set -- tests
PYTHON=$python sh "$emulate" "$build" "$project" --version # builds all and shows that it starts

# the two boards side by side: either keeps one core busy
as_a() ( # CPU ISA [pytest args]
  cpu=$1 isa=$2; shift 2
  EDGEKIT_PYTHON=$build/$cpu/python WANT_ISA=$isa "$build/$cpu/python" -P -m pytest -q -p no:cacheprovider \
    --import-mode=importlib "$@" > "$build/$cpu.log" 2>&1
)
as_a cortex-a72 neon "$@" & pi4=$!
as_a cortex-a76 neondot "$@" & pi5=$!
failed=0
wait $pi4 || failed=1
wait $pi5 || failed=1
for cpu in cortex-a72 cortex-a76; do echo "== the tests as $cpu"; cat "$build/$cpu.log"; done
exit $failed
