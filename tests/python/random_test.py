"""Operators that draw random numbers: others in each run, or the same ones with a seed."""

import pathlib
import tempfile
import unittest

import numpy as np
from onnx import TensorProto, helper

import corf
from corf import _model
from corf_command import corf as command, make_model, value


def drawn(operator, shape=(64, 64), dtype=TensorProto.FLOAT, **attributes):
    """y = x + what the operator draws in x's shape."""
    nodes = [helper.make_node(operator, ["x"], ["noise"], name="noise", **attributes),
             helper.make_node("Add", ["x", "noise"], ["y"])]
    return make_model(nodes, [value("x", list(shape), dtype)], [value("y", list(shape), dtype)], opset=22)


def run(model, x, times=1, **options):
    compiled = corf.compile(model, executable_cache="", **options)
    results = [compiled(x) for _ in range(times)]
    return results if times > 1 else results[0]


class RandomTest(unittest.TestCase):
    def tearDown(self):
        _model.random_seed = None

    def test_distributions(self):
        x = np.zeros((256, 256), np.float32)
        uniform = run(drawn("RandomUniformLike", x.shape, low=-1.0, high=3.0), x)
        self.assertTrue(((uniform >= -1) & (uniform < 3)).all())
        self.assertAlmostEqual(uniform.mean(), 1, delta=0.03)
        self.assertAlmostEqual(uniform.var(), 16 / 12, delta=0.03)
        normal = run(drawn("RandomNormalLike", x.shape, mean=3.0, scale=2.0), x)
        self.assertAlmostEqual(normal.mean(), 3, delta=0.05)
        self.assertAlmostEqual(normal.std(), 2, delta=0.05)

    def test_types(self):
        for name, dtype in (("FLOAT16", np.float16), ("DOUBLE", np.float64)):
            model = drawn("RandomNormalLike", (64, 64), getattr(TensorProto, name))
            y = run(model, np.zeros((64, 64), dtype))
            self.assertEqual(y.dtype, dtype)
            self.assertAlmostEqual(y.astype(np.float64).std(), 1, delta=0.06)

    def test_each_run_draws_others_unless_there_is_a_seed(self):
        x = np.zeros((64, 64), np.float32)
        model = drawn("RandomNormalLike")
        first, second = run(model, x, 2)
        self.assertFalse((first == second).any())
        self.assertFalse((run(model, x) == first).any())
        for seeded, options in ((drawn("RandomNormalLike", seed=3.0), {}), (model, {"random_seed": 3})):
            first, second = run(seeded, x, 2, **options)
            np.testing.assert_array_equal(first, second)
            np.testing.assert_array_equal(run(seeded, x, threads=1, **options), first)
        self.assertFalse((run(model, x, random_seed=4) == first).any())
        corf.set_seed(3)
        np.testing.assert_array_equal(run(model, x), first)

    def test_nodes_draw_numbers_of_their_own(self):
        nodes = [helper.make_node("RandomUniform", [], [name], name=name, shape=[1000]) for name in "ab"]
        model = make_model(nodes + [helper.make_node("Sub", ["a", "b"], ["d"]),
                                    helper.make_node("Add", ["d", "x"], ["y"])],
                           [value("x", [1000])], [value("y", [1000])], opset=22)
        y = run(model, np.zeros(1000, np.float32), random_seed=0)
        self.assertAlmostEqual(y.var(), 2 / 12, delta=0.03)

    def test_bernoulli(self):
        p = np.repeat(np.array([0, 0.25, 1], np.float32), 10_000).reshape(3, -1)
        model = make_model([helper.make_node("Bernoulli", ["p"], ["y"], dtype=TensorProto.INT64)],
                           [value("p", [3, 10_000])], [value("y", [3, 10_000], TensorProto.INT64)], opset=22)
        y = run(model, p)
        self.assertEqual(set(np.unique(y)), {0, 1})
        self.assertEqual((y[0].max(), y[2].min()), (0, 1))
        self.assertAlmostEqual(y[1].mean(), 0.25, delta=0.03)

    def test_multinomial(self):
        weights = np.array([[1, 2, 0, 5], [0, 0, 1, 0]], np.float32)
        with np.errstate(divide="ignore"):
            x = np.log(weights) + 7
        model = make_model([helper.make_node("Multinomial", ["x"], ["y"], sample_size=20_000)],
                           [value("x", [2, 4])], [value("y", [2, 20_000], TensorProto.INT32)], opset=22)
        y = run(model, x)
        counts = np.bincount(y[0], minlength=4) / 20_000
        np.testing.assert_allclose(counts, weights[0] / 8, atol=0.02)
        self.assertEqual(counts[2], 0)
        self.assertTrue((y[1] == 2).all())

    def test_command(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "noise.onnx"
            path.write_bytes(drawn("RandomNormalLike", dtype=TensorProto.FLOAT16))
            outputs = []
            for seed in ("0", "0", "1"):
                out = pathlib.Path(folder) / f"out{len(outputs)}"
                self.assertEqual(command("run", path, "--seed", seed, "--output-dir", out).returncode, 0)
                outputs.append(np.load(out / "y.npy"))
            np.testing.assert_array_equal(outputs[0], outputs[1])
            self.assertFalse((outputs[0] == outputs[2]).all())
            for reference in ("evaluate", "unfused"):
                compared = command("compare", path, "--reference", reference)
                self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)


if __name__ == "__main__":
    unittest.main()
