"""What libraries may tell others about this machine: nothing. Imported first, so that it precedes every library.

Defaults go into the environment, which worker processes inherit; a variable that is already set is respected.
`CLIP_ITALIAN_OFFLINE=1` forbids every network access of the package. See docs/privacy.md.
"""

import ipaddress
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from clip_italian.errors import UserError

OFFLINE = "CLIP_ITALIAN_OFFLINE"
# Each variable with the library that reads it, for the most part when it is imported.
OPT_OUTS = {
    "DO_NOT_TRACK": "1",  # https://donottrack.sh, read by huggingface_hub and others
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: device id, database and uploader
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub and transformers: versions and what is loaded
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # the command hf
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # transformers: asks a service to convert a model that was loaded as .bin
    "RAY_USAGE_STATS_ENABLED": "0",  # ray
    "WANDB_ERROR_REPORTING": "false",  # wandb: errors, and records of its own use
    "WANDB_DISABLE_GIT": "true",  # wandb: remote, commit and changes of the folder's repository
    "WANDB_DISABLE_CODE": "true",  # wandb: the program itself
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations, below img2dataset: asks PyPI for its newest version
    "GRADIO_ANALYTICS_ENABLED": "False",  # gradio, below trackio
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",  # pip, which downloads the wheels
}
# Further ones in offline mode, which no earlier setting overrules.
_OFFLINE_TOO = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
_TRUE = ("1", "true", "yes", "on")


def is_offline() -> bool:
    """True where `CLIP_ITALIAN_OFFLINE` is 1, true, yes or on."""
    return os.environ.get(OFFLINE, "").strip().lower() in _TRUE


def opt_out() -> None:
    """Set the defaults in the environment, and in libraries that were imported earlier."""
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None and os.environ["HF_HUB_DISABLE_TELEMETRY"].lower() in _TRUE:
        hub.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None and os.environ["ORT_DISABLE_TELEMETRY"].lower() in _TRUE:
        runtime.disable_telemetry_events()  # its first event may be out by now
    if not _openvino_may_report():
        # OpenVINO reports each import to Google Analytics, without a variable against it. Where this module cannot be
        # imported it takes a stub of its own, as after pip uninstall openvino-telemetry.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if is_offline():
        _go_offline()


def refuse_offline(what: str, instead: str, address: str | None = None) -> None:
    """Raise UserError in offline mode, before `what` connects; `instead` says how to do without.

    An `address` (URL or HOST:PORT) on this machine is allowed.
    """
    if is_offline() and not (address and is_here(address)):
        raise UserError(f"{what}: needs the network, which {OFFLINE}=1 forbids; {instead}, or unset {OFFLINE}")


def is_here(address: str) -> bool:
    """True for a URL or HOST:PORT whose host is localhost or a loopback address. Resolves no name."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _openvino_may_report() -> bool:
    """True where the user has agreed by `opt_in_out --opt_in`, which writes this file."""
    local = os.environ.get("LOCALAPPDATA")
    folder = Path(local, "Intel Corporation") if os.name == "nt" and local else Path.home() / "intel"
    try:
        return (folder / "openvino_telemetry").read_text(encoding="utf-8").strip() == "1"
    except (OSError, ValueError):
        return False


def _go_offline() -> None:
    os.environ.update(_OFFLINE_TOO)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


opt_out()
