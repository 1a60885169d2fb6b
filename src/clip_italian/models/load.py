"""Loads a model by name: our own, exported ones, and models to compare with."""

from pathlib import Path
from typing import Any, Literal

from clip_italian import console
from clip_italian.errors import UsageError, UserError
from clip_italian.files.names import as_stored
from clip_italian.languages import Language
from clip_italian.models import exported, graphs, precision, published, registry
from clip_italian.models.encoder import Encoder, SearchEncoder
from clip_italian.models.onnx import OnnxEncoder

Engine = Literal["auto", "onnx", "torch"]
OPEN_CLIP = "open_clip:"
SENTENCE_TRANSFORMERS = "sentence-transformers:"
MCLIP = (
    f"{SENTENCE_TRANSFORMERS}sentence-transformers/clip-ViT-B-32-multilingual-v1,sentence-transformers/clip-ViT-B-32"
)
_GPU_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def load(name: str | Path, device: str = "auto", engine: Engine = "auto") -> SearchEncoder:
    """Load a model for searching: `mini`, a model folder, a Hub id, an exported folder, or published graphs.

    By default, onnxruntime runs it on the CPU, as int8 on processors with 8-bit products, and torch on a GPU. Graphs
    for onnxruntime are made once, where torch is installed, and kept in the cache (`models.graphs`). A model that
    cannot run as graphs runs on torch, which is said on stderr. Exported folders and published graphs
    (`models.published`) run as they are. Raises UserError if the model cannot be loaded, and UsageError for an engine
    that does not fit.
    """
    name = str(as_stored(Path(name))) if not str(name).isascii() else str(name)
    if name != graphs.MINI and exported.is_exported(Path(name)):
        if engine == "torch" or device not in ("auto", "cpu"):
            raise UsageError(f"{name}: exported graphs, which run on the CPU; leave out --engine and --device")
        return OnnxEncoder.load(name)
    if device in ("auto", "cpu") and engine != "torch" and name != graphs.MINI and (place := published.find(name)):
        return published.load(name, place)
    if chosen_engine(engine, device) == "onnx":
        try:
            return graphs.load(name, precision.preferred())
        except graphs.NoGraphsError as error:
            if engine == "onnx" or not graphs.has_torch():
                raise
            console.notice(f"{name}: runs on torch, which is slower ({error})")
        except OSError as error:  # of the cache
            if engine == "onnx" or name == graphs.MINI:
                raise
            console.notice(f"{name}: runs on torch, since its graphs cannot be kept in the cache ({error})")
    return load_torch(name, device)


def lasting_name(name: str) -> str:
    """Return the name that loads the same model from every working folder: the absolute path of a folder.

    Hub ids stay, and `mini`, which is the packaged model also where there is a folder `mini`: that is `./mini`.
    """
    return str(Path(name).resolve()) if name != graphs.MINI and Path(name).is_dir() else name


def load_torch(name: str, device: str = "auto") -> SearchEncoder:
    """Load a model folder, a Hub id or `mini` with torch, in float32. Raises UserError if torch is missing."""
    if not graphs.has_torch():
        raise UserError(f"{name}: torch is missing; pip install 'clip-italian[train]'")
    encoder: SearchEncoder = registry.resolve(registry.DUAL_ENCODER).load(name).to(_torch_device(device))
    return encoder


def chosen_engine(engine: Engine, device: str) -> Literal["onnx", "torch"]:
    """Return the engine for a device. Raises UsageError for onnxruntime on another device than the CPU."""
    if engine == "onnx" and device not in ("auto", "cpu"):
        raise UsageError(f"--engine onnx: runs on the CPU only, not on {device}; leave out one of both")
    if engine != "auto":
        return engine
    if device == "auto":
        return "torch" if _has_gpu() else "onnx"
    return "onnx" if device == "cpu" else "torch"


def _has_gpu() -> bool:
    """Return True if torch finds a GPU; torch is imported only on machines with a driver of one."""
    if not any(driver.exists() for driver in _GPU_DRIVERS) or not graphs.has_torch():
        return False
    return bool(_torch_device("auto").type != "cpu")


def load_rival(name: str, language: Language, device: str = "cpu", engine: Engine = "torch") -> Encoder:
    """Load a model for evaluation on `device`, by default with torch in float32.

    | name | loaded as |
    |---|---|
    | `mini`, a folder, a Hub id | `DualEncoder` in float32; with another `engine`, as `load` |
    | a folder written by `clip-italian export` | `OnnxEncoder`, on the CPU |
    | `mclip`, `sentence-transformers:TEXT,IMAGES` | `SentenceEncoder` |
    | `open_clip:NAME/WEIGHTS`, `open_clip:hf-hub:ID`, `open_clip:local-dir:FOLDER` | `OpenClipEncoder` |

    `language` is the language of the texts, which some multilingual models need to know. Raises UserError if a library,
    a file or weights are missing.
    """
    if name == "mclip":
        name = MCLIP
    encoder: Encoder
    if name.startswith(SENTENCE_TRANSFORMERS):
        encoder = registry.resolve(registry.SENTENCE_TRANSFORMERS).load(name, _torch_device(device))
    elif name.startswith(OPEN_CLIP):
        encoder = registry.resolve(registry.OPEN_CLIP).load(name, language.flores_code, _torch_device(device))
    elif name != graphs.MINI and exported.is_exported(Path(name)):
        encoder = OnnxEncoder.load(name)
    else:
        encoder = load_torch(name, device) if engine == "torch" else load(name, device, engine)
    return encoder


def _torch_device(name: str) -> Any:
    """Return the torch device for a name; see `models_torch.devices`."""
    return registry.resolve(registry.CHOOSE_DEVICE)(name)
