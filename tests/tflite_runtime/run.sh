#!/bin/sh
# run.sh BUILD_DIR: the engine's tests on plain tflite-runtime 2.14, in an environment without ai-edge-litert.
#
# That runtime is from 2023: it needs Python 3.11 and numpy 1. $PYTHON is such a Python, with build, setuptools,
# cython and wheel in it (python3.11 unless set).
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3.11}
mkdir -p "$1"; build=$(cd "$1" && pwd)

[ -x "$build/venv/bin/python" ] || {
  "$python" -m venv "$build/venv"
  "$build/venv/bin/pip" -q install tflite-runtime==2.14.0 "numpy<2" "opencv-python-headless<4.12" flatbuffers \
    pydantic pyyaml pytest hypothesis
}
rm -rf "$build/dist"
"$python" -m build -n -w -o "$build/dist" "$project" > "$build/build.log" 2>&1 || { tail -5 "$build/build.log"; exit 1; }
"$build/venv/bin/pip" -q install --no-deps --force-reinstall "$build"/dist/*.whl

cd "$build"
venv/bin/python -c 'from edgekit.engine.interpreter import find_runtime; print(find_runtime()[0])' | tee runtime.txt
grep -q '^tflite-runtime 2.14' runtime.txt
venv/bin/python -m pytest -q -p no:cacheprovider "$project/tests/test_engine.py" "$project/tests/test_model.py"
