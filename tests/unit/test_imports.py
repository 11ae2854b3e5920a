"""The direction of imports: theory and networks apart, libraries know nothing of the tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "derivations": {"torch", "numerics", "tests", "reports"},
    "numerics": {"sympy", "derivations", "tests", "reports"},
    "reports": {"tests"},
}


def imported(source: str) -> set[str]:
    """Top-level names of all imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            names |= {
                a.value.split(".")[0] for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            }
    return names


@pytest.mark.parametrize("library", FORBIDDEN)
def test_imports_point_one_way(library):
    files = sorted((ROOT / library).rglob("*.py"))
    assert files
    offenders = {str(f.relative_to(ROOT)): bad for f in files if (bad := imported(f.read_text()) & FORBIDDEN[library])}
    assert not offenders


def test_the_scan_sees_every_way_to_import():
    source = "def f():\n    import torch.nn\nfrom numerics.flows import flow\n__import__('tests')\n"
    assert imported(source + "importlib.import_module('reports.verdict')\n") == {
        "torch",
        "numerics",
        "tests",
        "reports",
    }


def test_importing_the_theory_loads_no_network_library():
    code = "import sys, derivations.code, derivations.words, derivations.decide; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
