"""Where programs for ONNX Runtime look for its exceptions."""
