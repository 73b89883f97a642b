"""The shape of the house: imports run downwards, the core is light, modules and functions stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "tamperscope"
MODULES = sorted(SRC.rglob("*.py"))

# A module may import its own floor and those below it.
FLOORS = [
    {"errors", "files", "imports", "types", "weights", "workers", "__version__"},
    {"media", "geometry", "settings", "signal", "nn"},
    {"metrics", "ops", "networks", "inference"},
    {"detectors", "registry"},
    {"data", "verdict"},
    {"report"},
    {"scanning", "bench", "forging", "engine"},
    {"serve"},
    {"cli", "__init__", "__main__"},
]
# Rooms of torch; every other one imports them inside of the function that needs them.
TORCH_ROOMS = {"nn", "networks", "engine"}
HEAVY = {
    "onnx",
    "onnxruntime",
    "onnxscript",
    "torch",
    "safetensors",
    "diffusers",
    "av",
    "torchvision",
    "transformers",
    "timm",
    "sklearn",
    "skimage",
}
HEAVY |= {"pandas", "matplotlib", "datasets"}


def _floor(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def _room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def _imports(path: Path, at_import: bool = False) -> list[str]:
    """Return the names that a module imports; all of them, or only those that importing it brings in."""
    found = []
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), at_import):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            if node.module == "tamperscope":
                found += [f"tamperscope.{alias.name}" for alias in node.names]
            else:
                found.append(node.module or "")
    return found


def _nodes(node: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    """Yield a node and all below it; at import, bodies of functions do not run, nor what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        skipped = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        )
        if not (at_import and skipped):
            yield child
            yield from _nodes(child, at_import)


def _type_checking_only(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom):
                    names.add(inner.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_downwards(path: Path) -> None:
    allowed = _floor(_room(path))
    for name in _imports(path):
        root, _, rest = name.partition(".")
        if root == "tamperscope" and rest and name not in _type_checking_only(path):
            floor = _floor(rest.partition(".")[0])
            assert floor <= allowed, f"{path.relative_to(SRC)} imports {name} from a floor above"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_rooms_of_torch_import_heavy_libraries(path: Path) -> None:
    if _room(path) in TORCH_ROOMS:
        return
    for name in _imports(path, at_import=True):
        root, _, rest = name.partition(".")
        assert root not in HEAVY, f"{path}: {name}"
        assert root != "tamperscope" or rest.partition(".")[0] not in TORCH_ROOMS, f"{path}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{path.name}: {node.name} has {length} lines"


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, tamperscope; "
        "heavy = {'numpy', 'cv2', 'scipy', 'numba', 'pydantic', 'torch', 'PIL'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_listing_detectors_imports_none_of_them() -> None:
    code = (
        "import sys, tamperscope; names = tamperscope.list_detectors(); assert 'zero' in names; "
        "assert not [m for m in sys.modules if m.startswith('tamperscope.detectors.')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_surface() -> None:
    import tamperscope

    assert sorted(tamperscope.__all__) == ["__version__", "list_detectors", "load", "scan"]
    for name in tamperscope.__all__:
        assert getattr(tamperscope, name) is not None
    with pytest.raises(AttributeError):
        tamperscope.nothing  # noqa: B018


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Two test modules of one name cannot be collected together."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
