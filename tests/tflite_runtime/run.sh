#!/bin/sh
# run.sh BUILD_DIR: the engine's tests on plain tflite-runtime 2.14, in an environment without ai-edge-litert.
#
# That runtime is from 2023: it needs Python 3.11 and numpy 1. $PYTHON is such a Python, in which edgekit is
# installed (python3.11 unless set).
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3.11}
mkdir -p "$1"; build=$(cd "$1" && pwd)

[ -x "$build/venv/bin/python" ] || {
  "$python" -m venv "$build/venv"
  "$build/venv/bin/pip" -q install tflite-runtime==2.14.0 "numpy<2" "opencv-python-headless<4.12" flatbuffers \
    pydantic pyyaml pytest hypothesis
}
rm -rf "$build/dist"; mkdir "$build/dist"
"$python" -c 'import sys; from pathlib import Path; from edgekit.kit.wheel import make_wheel; make_wheel(Path(sys.argv[1]))' "$build/dist"
"$build/venv/bin/pip" -q install --no-deps --force-reinstall "$build"/dist/*.whl

cd "$build"
venv/bin/python -c 'from edgekit.engine.interpreter import find_runtime; print(find_runtime()[0])' | tee runtime.txt
grep -q '^tflite-runtime 2.14' runtime.txt
venv/bin/python -m pytest -q -p no:cacheprovider "$project/tests/test_engine.py" "$project/tests/test_model.py"
