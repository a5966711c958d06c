"""The house keeps its floors: imports go down, and nothing goes round.

Read from the source, with imports inside functions counted as well. A registry that names a module in a
string ("module:name", `files.late_import`) is the one way up.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = "sdflow_jax"

# From the ground up; each may import only what stands before it.
FLOORS = (
    "callers",
    "images",
    "files",
    "align",
    "models",
    "flow",
    "losses",
    "data",
    "training",
    "classifiers",
    "methods",
    "editor",
    "edit",
    "demo",
    "evaluation",
    "study",
    "pocket",
)


def modules() -> dict[str, pathlib.Path]:
    """Module name -> its source, of the whole package."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def all_imports(path: pathlib.Path) -> set[str]:
    """The modules that a source imports by its statements, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def imports(module: str) -> set[str]:
    """The package's own modules that a module imports."""
    own = {name for name in all_imports(MODULES[module]) if name.split(".")[0] == PACKAGE}
    assert own <= MODULES.keys(), f"{module} imports {own - MODULES.keys()}, which are not there"
    return own


def room(module: str) -> str:
    """The floor that a module stands on; "" for the package's own `__init__`."""
    return module.split(".")[1] if "." in module else ""


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Some cycle of a graph, empty if it has none."""
    done: set[str] = set()

    def search(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := search(following, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in graph if (found := search(node, []))), [])


def test_every_module_stands_on_a_floor():
    unplaced = {room(module) for module in MODULES} - {"", *FLOORS}
    assert not unplaced, f"give {unplaced} a place in FLOORS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    if module == PACKAGE:
        return  # the public door shows what is on every floor
    height = FLOORS.index(room(module))
    above = {name for name in imports(module) if FLOORS.index(room(name)) > height}
    assert not above, f"{module} is on floor {room(module)!r} and imports {sorted(above)}"


def test_packages_and_modules_do_not_go_round():
    arrows = {module: imports(module) for module in MODULES if module != PACKAGE}
    assert cycle(arrows) == []
    packages: dict[str, set[str]] = {}
    for module, names in arrows.items():
        packages.setdefault(room(module), set()).update(room(x) for x in names)
    assert cycle({name: others - {name} for name, others in packages.items()}) == []


def test_converters_stand_beside_the_methods():
    height = FLOORS.index("methods")
    for path in (ROOT / "converters").glob("*.py"):
        own = {name for name in all_imports(path) if name.split(".")[0] == PACKAGE}
        assert all(FLOORS.index(room(name)) <= height for name in own), path
    asking = {module for module, path in MODULES.items() if "converters" in _packages(path)}
    assert {room(module) for module in asking} == {
        "pocket"
    }  # its renderer, converted when first used


def _packages(path: pathlib.Path) -> set[str]:
    return {name.split(".")[0] for name in all_imports(path)}


def test_nothing_that_is_installed_knows_what_stays_in_the_checkout():
    outside = {"benchmarks", "configs", "evaluate", "reliability", "tests", "train"}
    for path in [*MODULES.values(), *(ROOT / "converters").glob("*.py")]:
        assert not _packages(path) & outside, path


def test_methods_do_not_know_each_other():
    rooms = [module for module in MODULES if module.startswith(f"{PACKAGE}.methods.")]
    names = {module.split(".")[2] for module in rooms if MODULES[module].name == "__init__.py"}
    for module in rooms:
        own = module.split(".")[2]
        seen = {x.split(".")[2] for x in imports(module) if x.startswith(f"{PACKAGE}.methods.")}
        assert not (seen & names) - {own}, f"{module} imports the room of another method"


def test_what_all_methods_share_names_none_of_them():
    registered = {"flow", "interfacegan", "latent_transformer", "sdflow"}
    engine = ("training", "data", "files", "images")
    for module in MODULES:
        if room(module) in engine:
            assert not {part for name in imports(module) for part in name.split(".")} & registered
