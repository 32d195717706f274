"""Detectors of ten classes, distilled from YOLOX-Nano."""
