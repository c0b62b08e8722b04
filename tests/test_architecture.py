"""The house: folders import only from floors below their own, files are short, private modules say so."""

import ast
from pathlib import Path

import sklearn_mdm

PACKAGE = Path(sklearn_mdm.__file__).parent

# From top to bottom. A room may import from every floor below its own, and from no other room of its own floor.
FLOORS = [
    {"__init__", "inspection", "metrics"},
    {"estimators"},
    {"net", "fusion"},
    {"dependency", "encoders"},
    {"measures", "datasets"},
    {"critic", "inputs", "callbacks"},
    {"persistence"},
    {"utils"},
    {"exceptions", "_version"},
]
# Data sets are made for estimators, not by them.
DATASETS_READ = {"inputs", "utils", "exceptions"}

MAX_LINES = 500


def modules():
    """Return the files of the package by their path below it."""
    return {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(path):
    """Return the folder, or the module at the top, that a file belongs to."""
    return path.split("/")[0].removesuffix(".py")


def rooms_read(path, source):
    """Return the rooms of the package that a file imports from, its own one included."""
    folders = path.split("/")[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported = [alias.name.split(".") for alias in node.names]
            imported = [parts[1:] for parts in imported if parts[0] == "sklearn_mdm"]
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            if node.level:
                parts = folders[: len(folders) - node.level + 1] + parts
            elif parts[0] == "sklearn_mdm":
                parts = parts[1:]
            else:
                continue
            imported = [[*parts, alias.name] for alias in node.names]
        else:
            continue
        rooms |= {parts[0] if parts else "__init__" for parts in imported}
    return rooms


def test_imports__run_down_only():
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    wrong = []
    for path, file in modules().items():
        room = room_of(path)
        if room not in floor_of:
            wrong.append(f"{path} is on no floor")
            continue
        for other in sorted(rooms_read(path, file.read_text(encoding="utf-8")) - {room}):
            if floor_of.get(other, -1) <= floor_of[room] or (room == "datasets" and other not in DATASETS_READ):
                wrong.append(f"{path} imports from {other}")
    assert not wrong


def test_modules__length__is_that_of_one_idea():
    lines = {path: len(file.read_text(encoding="utf-8").splitlines()) for path, file in modules().items()}
    long = {path: n for path, n in lines.items() if n > MAX_LINES}
    assert not long, f"longer than {MAX_LINES} lines: {long}"


def test_modules__without_underscore__say_what_is_public():
    wrong = []
    for path, file in modules().items():
        *folders, name = path.removesuffix(".py").split("/")
        if any(part.startswith("_") for part in folders) or (name.startswith("_") and name != "__init__"):
            continue
        if folders and name != "__init__":
            wrong.append(f"{path} needs an underscore: a folder's __init__ names what is public")
        names = [target.id for node in ast.parse(file.read_text(encoding="utf-8")).body for target in targets(node)]
        if "__all__" not in names:
            wrong.append(f"{path} has no __all__")
    assert not wrong


def test_constants__name__has_one_value():
    values = {}
    for path, file in modules().items():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for target in targets(node):
                if target.id.isupper():
                    values.setdefault(target.id, {})[path] = ast.unparse(node.value)
    wrong = {name: found for name, found in values.items() if len(set(found.values())) > 1}
    assert not wrong, f"constants of one name and several values: {wrong}"


def targets(node):
    """Return the names that a statement assigns to."""
    given = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part for target in given for part in ast.walk(target) if isinstance(part, ast.Name)]
