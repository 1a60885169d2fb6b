"""Disables telemetry of libraries, and network access in offline mode. Imported before any other library.

Opt-outs are set as environment variables, which worker processes inherit; variables that are already set are kept.
`CLIP_ITALIAN_OFFLINE=1` forbids all network access of the package. See docs/privacy.md.
"""

import ipaddress
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from clip_italian.errors import UserError

OFFLINE = "CLIP_ITALIAN_OFFLINE"
# Variables with the library that reads them, usually on import.
OPT_OUTS = {
    "DO_NOT_TRACK": "1",  # https://donottrack.sh, read by huggingface_hub and others
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: device id, database and uploads
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub and transformers: versions and names of loaded models
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # the hf command
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # transformers: asks a service to convert models loaded from .bin
    "RAY_USAGE_STATS_ENABLED": "0",  # ray
    "WANDB_ERROR_REPORTING": "false",  # wandb: errors and usage
    "WANDB_DISABLE_GIT": "true",  # wandb: remote, commit and changes of the git repository
    "WANDB_DISABLE_CODE": "true",  # wandb: source code of the program
    "GRADIO_ANALYTICS_ENABLED": "False",  # gradio (used by trackio)
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",  # pip, which downloads the wheels
}
# Set in offline mode, overriding existing values.
_OFFLINE_VARIABLES = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
_TRUE = ("1", "true", "yes", "on")


def is_offline() -> bool:
    """Return True if `CLIP_ITALIAN_OFFLINE` is 1, true, yes or on."""
    return os.environ.get(OFFLINE, "").strip().lower() in _TRUE


def opt_out() -> None:
    """Set the opt-outs in the environment and in libraries that are already imported."""
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None and os.environ["HF_HUB_DISABLE_TELEMETRY"].lower() in _TRUE:
        hub.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None and os.environ["ORT_DISABLE_TELEMETRY"].lower() in _TRUE:
        runtime.disable_telemetry_events()  # its first event may have been sent already
    if not _openvino_opted_in():
        # OpenVINO reports each import to Google Analytics and has no opt-out variable. If this module cannot be
        # imported, it uses its own stub, as after pip uninstall openvino-telemetry.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if is_offline():
        _set_offline()


def refuse_offline(what: str, instead: str, address: str | None = None) -> None:
    """Raise UserError in offline mode. Call it before `what` connects; `instead` names the alternative.

    An `address` (URL or HOST:PORT) on this machine is allowed.
    """
    if is_offline() and not (address and is_loopback(address)):
        raise UserError(f"{what}: needs the network, which {OFFLINE}=1 forbids; {instead}, or unset {OFFLINE}")


def is_loopback(address: str) -> bool:
    """Return True if the host of a URL or HOST:PORT is localhost or a loopback address; resolves no names."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _openvino_opted_in() -> bool:
    """Return True if the user has opted in with `opt_in_out --opt_in`, which writes this file."""
    local = os.environ.get("LOCALAPPDATA")
    folder = Path(local, "Intel Corporation") if os.name == "nt" and local else Path.home() / "intel"
    try:
        return (folder / "openvino_telemetry").read_text(encoding="utf-8").strip() == "1"
    except (OSError, ValueError):
        return False


def _set_offline() -> None:
    os.environ.update(_OFFLINE_VARIABLES)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


opt_out()
