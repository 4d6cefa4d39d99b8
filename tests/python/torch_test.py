"""torch.compile(module, backend="corf") beside PyTorch itself."""

import pathlib
import re
import sys
import tempfile
import tomllib
import unittest
import warnings

import numpy as np
import torch

import corf
from corf.torch_backend import compile_graph

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = re.compile(r"^```python\n(# needs: torch.*?)^```$", re.MULTILINE | re.DOTALL)


class Network(torch.nn.Module):
    """Convolutions with a skip, a pool and a product."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.second = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(16)
        self.last = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x + torch.nn.functional.gelu(self.norm(self.second(x)))
        return self.last(x.mean((2, 3)))


def register():
    """As an installed wheel does: the entry points of pyproject.toml, where Python looks for them."""
    folder = tempfile.TemporaryDirectory()
    info = pathlib.Path(folder.name) / "corf-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corf\nVersion: 0\n")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    (info / "entry_points.txt").write_text("".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in groups.items()))
    sys.path.append(folder.name)
    return folder


class TorchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(register().cleanup)

    def setUp(self):
        torch.manual_seed(0)
        torch._dynamo.reset()
        self.compiled = []

    def backend(self, module, examples):
        run = compile_graph(module, examples)
        self.compiled.append(run)
        return run

    def check(self, module, *inputs):
        fast = torch.compile(module, backend=self.backend)
        with torch.inference_mode():
            expected, actual = module(*inputs), fast(*inputs)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        return fast

    def test_is_registered(self):
        self.assertIn("corf", torch._dynamo.list_backends(exclude_tags=()))

    def test_network(self):
        fast = self.check(Network().eval(), torch.randn(2, 3, 32, 32))
        self.assertEqual(type(self.compiled[0]).__name__, "_Compiled")
        # The weights are not handed over in each call.
        self.assertEqual(len(self.compiled[0]._names), 1)
        self.assertIsNotNone(fast)

    def test_changed_weights_count(self):
        module = torch.nn.Linear(4, 4).eval()
        fast = self.check(module, torch.randn(2, 4))
        with torch.no_grad():
            module.weight.add_(1)
        x = torch.randn(2, 4)
        with torch.inference_mode():
            torch.testing.assert_close(fast(x), module(x), rtol=1e-5, atol=1e-6)

    def test_several_results(self):
        class Two(torch.nn.Module):
            def forward(self, x, y):
                return x @ y, torch.softmax(x, -1)

        self.check(Two(), torch.randn(3, 4), torch.randn(4, 5))

    def test_what_is_not_for_it_runs_all_the_same(self):
        module = Network().train()
        fast = torch.compile(module, backend=self.backend)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss = fast(torch.randn(2, 3, 8, 8)).sum()
        loss.backward()
        self.assertIsNotNone(module.first.weight.grad)
        self.assertTrue(any("gradients" in str(one.message) for one in caught))

    def test_the_document_runs(self):
        [program] = PROGRAM.findall((ROOT / "docs/start_python.md").read_text())
        exec(compile(program, "start_python.md", "exec"), {"corf": corf, "np": np})


if __name__ == "__main__":
    unittest.main()
