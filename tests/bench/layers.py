"""Write one `.tflite` file for each of a few fully connected layers, to be timed by `edgekit benchmark`.

python tests/bench/layers.py build/layers && edgekit benchmark build/layers/*.tflite --engine tflite,native
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgekit import model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from strategies import layer

SHAPES = (
    (1, 128, 128),
    (1, 640, 128),
    (1, 1024, 1000),
    (1, 2048, 1024),
    (1, 4096, 4096),
    (8, 512, 512),
    (64, 512, 512),
)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for rows, depth, cols in SHAPES:
        graph = layer(rows, depth, cols, activation="RELU")
        (folder / f"fc_{rows}x{depth}x{cols}.tflite").write_bytes(model.write(graph))
