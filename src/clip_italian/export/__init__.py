"""Models in other libraries' formats, and checkpoints of others in ours: one module a format.

| format | module | read by |
|---|---|---|
| `hf` | `hf` | plain `transformers` |
| `onnx` | `onnx` | onnxruntime, and `OnnxEncoder` |
| `openvino` | `openvino` | OpenVINO, and `OnnxEncoder` |
| `sentence-transformers` | `sentence_transformers` | `SentenceTransformer` |
"""
