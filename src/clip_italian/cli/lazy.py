"""Imports that run when a command first uses them, so that `--help` does not wait for torch."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "clip_italian."


class _Proxy(ModuleType):
    """Stands for a module, and imports it when one of its attributes is first read.

    It does not stay in `sys.modules`, as one by `importlib.util.LazyLoader` does: `inspect` reads attributes of all
    modules there, also while torch is half imported.
    """

    def __getattr__(self, name: str) -> Any:
        if not vars(self).get("_is_open"):  # inside the block: the import system looks for submodules
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


class _ProxyLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Proxy(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _ProxyFinder(MetaPathFinder):
    def __init__(self) -> None:
        self.found: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PACKAGE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _ProxyLoader()
            self.found.append(fullname)
        return spec


@contextmanager
def lazy_imports() -> Iterator[None]:
    """Make `from clip_italian.package import module` inside the block lazy.

    Import modules only: a name out of a module does not exist before the module runs.
    """
    finder = _ProxyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.found:
            proxy = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            holder = sys.modules.get(parent)
            if holder is not None and vars(holder).get(child) is proxy:
                delattr(holder, child)
            vars(proxy)["_is_open"] = True
