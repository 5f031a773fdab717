"""The house rules: floors, sizes, the map in WORKSPACE.md. `python tests/test_house.py` writes the map's tree anew."""

import ast
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "rlscale_jax"
FLOORS = [
    {"experiment"},
    {"data", "tokenizers", "rewards", "laws", "grpo", "models"},
    {"sampler", "report"},
    {"evaluation"},
    {"training"},
    {"planning", "studies"},
]
FLOOR_OF = {part: level for level, parts in enumerate(FLOORS) for part in parts}
NO_JAX = {"experiment", "rewards", "laws", "report"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_COMMAND_LINES = 450, 60, 90
TREE_START, TREE_END = "<!-- tree: written by tests/test_house.py -->\n```\n", "```\n<!-- end of tree -->"


def imported_modules(path: pathlib.Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def part_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def package_files() -> list[pathlib.Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def test_imports_only_point_down():
    offences = []
    for path in package_files():
        part = part_of(path)
        if part not in FLOOR_OF:
            continue
        for name in imported_modules(path):
            match = re.match(r"rlscale_jax\.(\w+)", name)
            target = match and match[1]
            if target and target != part and FLOOR_OF.get(target, len(FLOORS)) >= FLOOR_OF[part]:
                offences.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not offences


def test_every_part_has_a_floor():
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert parts == set(FLOOR_OF)


def test_parts_without_jax_import_none():
    offences = [
        path
        for path in package_files()
        if part_of(path) in NO_JAX
        and any(name.split(".")[0] in ("jax", "flax", "optax") for name in imported_modules(path))
    ]
    assert not offences


def python_files() -> list[pathlib.Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split() if (ROOT / name).exists()]


def test_files_and_functions_stay_small():
    offences = []
    for path in python_files():
        text = path.read_text()
        lines = text.count("\n")
        limit = MAX_COMMAND_LINES if path.parent == PACKAGE and path.name != "__init__.py" else MAX_FILE_LINES
        if lines > limit:
            offences.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    offences.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert not offences


def purpose(path: pathlib.Path) -> str:
    """First sentence of a module's docstring, or a shell script's first comment."""
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and not line.startswith("#!")]
    return comments[0] if comments else ""


def test_every_module_says_its_purpose():
    silent = [path for path in python_files() if path.name != "__init__.py" and not purpose(path)]
    assert not silent


def tree() -> str:
    lines = []
    for folder in (PACKAGE, ROOT / "configs", ROOT / "launch", ROOT / "benchmarks"):
        lines.append(f"{folder.relative_to(ROOT)}/")
        files = [p for p in folder.rglob("*") if p.suffix in (".py", ".sh") and "__pycache__" not in p.parts]
        files = [p for p in files if p.name != "__init__.py" or purpose(p)]
        files.sort(key=lambda p: (len(p.relative_to(folder).parts) > 1, p))
        lines.extend(f"  {path.relative_to(folder)!s:<28} {purpose(path)}" for path in files)
    return "\n".join(lines) + "\n"


def workspace_parts() -> tuple[str, str, str]:
    before, _, rest = (ROOT / "WORKSPACE.md").read_text().partition(TREE_START)
    shown, _, after = rest.partition(TREE_END)
    return before, shown, after


def test_the_map_shows_the_tree():
    assert workspace_parts()[1] == tree(), "run: python tests/test_house.py"


if __name__ == "__main__":
    before, _, after = workspace_parts()
    (ROOT / "WORKSPACE.md").write_text(before + TREE_START + tree() + TREE_END + after)
