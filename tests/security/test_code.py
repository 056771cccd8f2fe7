"""The package loads no code from data: what could is not in it. Looked for in its syntax, so that no name hides it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "coreset"
FILES = sorted(PACKAGE.rglob("*.py"))

LOADERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "runpy", "imp"}
"""Modules that make code or objects of bytes."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "pd.read_pickle",
    "pandas.read_pickle", "os.system", "os.popen", "importlib.import_module", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all", "np.fromregex", "numpy.fromregex",
    "subprocess.getoutput", "subprocess.getstatusoutput", "tarfile.open", "shutil.unpack_archive",
}  # fmt: skip
"""What runs or builds what a file says, or unpacks archives, whose names may lead anywhere."""


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of names; empty for anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def safe_loaders(tree: ast.AST) -> set[str]:
    """Names of the classes that a module derives from yaml's safe loader, and of that."""
    derived = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("SafeLoader") for base in node.bases)
    }
    return derived | {"yaml.SafeLoader", "yaml.CSafeLoader"}


def given(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def faults(source: str) -> list[str]:
    """What a module does that makes code of data, by line."""
    tree = ast.parse(source)
    safe = safe_loaders(tree)
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
            names += [f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in CALLS]
        found += [f"{node.lineno}: imports {name}" for name in names if name in LOADERS | CALLS]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
        runs = name in BUILTINS | CALLS or name.endswith((".exec_module", ".load_module"))
        if runs and not (name == "importlib.import_module" and literal):
            found.append(f"{node.lineno}: calls {name}")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "extractall":
            found.append(f"{node.lineno}: calls extractall")
        if name in ("np.load", "numpy.load") and not is_false(given(node, "allow_pickle")):
            found.append(f"{node.lineno}: {name} without allow_pickle=False")
        if (
            name in ("yaml.load", "yaml.compose", "yaml.compose_all")
            and dotted(given(node, "Loader") or ast.Constant(None)) not in safe
        ):
            found.append(f"{node.lineno}: {name} without a safe loader")
        if given(node, "shell") is not None and not is_false(given(node, "shell")):
            found.append(f"{node.lineno}: {name} through a shell")
        if given(node, "trust_remote_code") is not None:
            found.append(f"{node.lineno}: {name} trusts remote code")
    return found


ALLOWED = {
    "__init__.py": ["imports importlib.import_module"],
    "learning/code.py": ["calls importlib.import_module", "calls spec.loader.exec_module"],
}
"""The package's own table of names, each of which is imported when it is asked for; and the network that a job names,
which `--allow-code` lets run, see `tests/learning/test_code.py`."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_makes_code_of_data(path: Path) -> None:
    found = [fault.partition(": ")[2] for fault in faults(path.read_text(encoding="utf-8"))]
    assert found == ALLOWED.get(path.relative_to(PACKAGE).as_posix(), [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle as cp",
        "from pickle import loads",
        "def f():\n    from marshal import loads",
        "torch.load(path)",
        "from torch import load",
        "pd.read_pickle(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class L(yaml.Loader): pass\nyaml.load(text, Loader=L)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=flag)",
        "os.system(line)",
        "importlib.import_module(name)",
        "spec.loader.exec_module(module)",
        "tarfile.open(path).extractall(folder)",
        "archive.extractall(folder)",
    ],
)
def test_what_would_is_seen(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "class L(yaml.SafeLoader): pass\nyaml.load(text, Loader=L)",
        "yaml.safe_load(text)",
        "subprocess.run([program], shell=False)",
        "re.compile(pattern)",
        "model.eval()",
        "json.load(file)",
        "importlib.import_module('eminus')",
    ],
)
def test_what_would_not_is_let_pass(source: str) -> None:
    assert not faults(source)
