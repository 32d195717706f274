"""A network to measure, in each of the formats that it is there in.

`model.tflite=model.onnx` names two files of one network: edgekit's engines run the one, rivals the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ModelError
from edgekit.inference import find_file

# What an engine reads, the format that suits it best first.
FORMATS = {
    "auto": (".tflite",),
    "native": (".tflite",),
    "tflite": (".tflite",),
    "onnxruntime": (".onnx",),
    "openvino": (".xml", ".onnx", ".tflite"),
}
_FOREIGN = (".onnx", ".xml")


@dataclass(frozen=True)
class Network:
    """What the user called it, and its file for each format, by suffix."""

    name: str
    files: dict[str, Path]

    def file_for(self, engine: str) -> Path:
        """The file that the engine reads. ModelError when the network is in none of its formats."""
        for suffix in FORMATS[engine]:
            if suffix in self.files:
                return self.files[suffix]
        here, wanted = next(iter(self.files.values())), FORMATS[engine][0]
        raise ModelError(
            f"{self.name}: {engine} reads {' or '.join(FORMATS[engine])}; name both files of the network, "
            f"as in {here.name}={here.with_suffix(wanted).name}"
        )


def find_network(text: str) -> Network:
    """The network that `text` names: a zoo name, a file, or files of several formats joined by `=`.

    Raises ModelError for a file that is not there and for two files of one format.
    """
    parts = [text] if Path(text).is_file() else text.split("=")
    files: dict[str, Path] = {}
    for part in parts:
        suffix, file = _find(part)
        if suffix in files:
            raise ModelError(f"{text}: two {suffix} files; `=` joins the formats of one network")
        files[suffix] = file
    return Network(parts[0], files)


def _find(part: str) -> tuple[str, Path]:
    file = Path(part)
    if file.suffix not in _FOREIGN:
        return ".tflite", find_file(part)[0]
    if not file.is_file():
        raise ModelError(f"{part}: no such file")
    return file.suffix, file
