"""The house stays as it is: imports only go to earlier rooms, public names change only on purpose."""

import ast
from pathlib import Path

from conftest import ROOT

# In the order in which they may import: each room uses only itself and earlier ones.
ROOMS = [
    "io",
    "metric",
    "competition",
    "submission",
    "decision",
    "expression",
    "screens",
    "knowledge",
    "evaluation",
    "models",
    "networks",
    "forecast",
    "report",
    "plots",
    "twin",
    "",  # kit itself: `__init__` and `__main__`
]
KIT = ROOT / "kit"
NAMES = Path(__file__).with_name("public_names.txt")


def room(path):
    """Room of a file of kit, "" for those of kit itself."""
    name = path.relative_to(KIT).parts[0].removesuffix(".py")
    return "" if name.startswith("__") else name


def imported_rooms(path):
    """Line and room of every import from kit, those inside functions too."""
    package = ["kit", *path.relative_to(KIT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            # `from . import x` and `from kit import x` may name a module.
            modules = [f"{base}.{alias.name}" if base == "kit" else base for alias in node.names]
        for module in modules:
            first, _, rest = module.partition(".")
            if first == "kit":
                name = rest.partition(".")[0]
                yield node.lineno, name if name in ROOMS else ""


def public_names():
    """`package: name` of every name in the `__all__` of kit and its packages, sorted."""
    found = []
    for path in KIT.rglob("__init__.py"):
        package = ".".join(["kit", *path.relative_to(KIT).parts[:-1]])
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                found += [f"{package}: {name}" for name in ast.literal_eval(node.value)]
    return sorted(found)


def test_every_room_is_in_the_order_of_rooms():
    assert {room(path) for path in KIT.rglob("*.py")} == set(ROOMS)


def test_imports_only_go_to_earlier_rooms():
    later = [
        f"{path.relative_to(ROOT)}, line {line}: {room(path)} imports {name or 'kit'}"
        for path in sorted(KIT.rglob("*.py"))
        for line, name in imported_rooms(path)
        if ROOMS.index(name) > ROOMS.index(room(path))
    ]
    assert not later


def test_public_names_are_those_of_the_list():
    """Where a change is meant: python tests/test_house.py, which writes the list anew."""
    assert public_names() == NAMES.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    NAMES.write_text("\n".join(public_names()) + "\n", encoding="utf-8")
