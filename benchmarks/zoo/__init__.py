"""Generators of well-known networks as ONNX files, with seeded random weights."""
