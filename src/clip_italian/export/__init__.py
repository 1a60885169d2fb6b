"""Exports models to the formats of other libraries, with one module per format.

| format | module | loaded with |
|---|---|---|
| `hf` | `hf` | plain `transformers` |
| `onnx` | `onnx` | onnxruntime, and `OnnxEncoder` |
| `openvino` | `openvino` | OpenVINO, and `OnnxEncoder` |
| `sentence-transformers` | `sentence_transformers` | `SentenceTransformer` |
"""
