"""corf.compile, and what the compiled model tells of itself."""

import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import corf
import small_models

X = np.array([[1, 2, 3], [-1, 0, 40]], np.float32)


class CompileTest(unittest.TestCase):
    def setUp(self):
        self.model = corf.compile(small_models.linear_model(), shapes={"batch": 2}, threads=1)

    def test_calls(self):
        want = small_models.linear(X)
        np.testing.assert_array_equal(self.model(X), want)
        np.testing.assert_array_equal(self.model(x=X), want)
        np.testing.assert_array_equal(self.model.run({"x": X})[0], want)
        y = np.zeros((2, 2), np.float32)
        self.model.run_into({"x": X}, [y])
        np.testing.assert_array_equal(y, want)
        both = corf.compile(small_models.two_outputs(), shapes={"a": (2, 3), "b": (2, 3)})
        total, flags = both(X, b=-X)
        np.testing.assert_array_equal(total, X - X)
        np.testing.assert_array_equal(flags, X < -X)

    def test_describes_itself(self):
        self.assertEqual(self.model.inputs[0][:4], ("x", np.dtype(np.float32), "float", (2, 3)))
        self.assertEqual(self.model.outputs[0].shape, (2, 2))
        self.assertEqual(self.model.info["threads"], 1)
        self.assertGreater(self.model.info["code_bytes"], 0)
        self.assertEqual(len(self.model.explain()["groups"]), 1)
        self.assertEqual(len(self.model.profile(X)["steps"]), 1)
        self.assertIn("MatMul", self.model.inspect("graph"))

    def test_faults(self):
        for call, kind, says in (
                (lambda: self.model(X[:1]), corf.InvalidArgument, r"shape \(1, 3\).*\(2, 3\)"),
                (lambda: self.model(X.astype(int)), corf.InvalidArgument, "int64"),
                (lambda: self.model(X, X), corf.InvalidArgument, "2 inputs"),
                (lambda: self.model(), corf.InvalidArgument, "'x' is missing"),
                (lambda: self.model(X, z=X), corf.InvalidArgument, "no input 'z'"),
                (lambda: corf.compile(small_models.linear_model()), corf.InvalidArgument, "open"),
                (lambda: corf.compile("a\0b"), corf.InvalidArgument, "zero byte"),
                (lambda: corf.compile(small_models.linear_model(), {"batch": 1}, colour="red"),
                 corf.InvalidArgument, "colour"),
                (lambda: corf.compile(small_models.linear_model(), {"batch": 1},
                                      limits={"nodes": 1}), corf.OverLimit, "nodes")):
            with self.subTest(says=says), self.assertRaisesRegex(kind, says):
                call()

    def test_options(self):
        model = corf.compile(small_models.branch_by_input(), constants={"rate": 8000}, isa="sse2",
                             winograd=False, plan="unfused")
        self.assertEqual(model.info["isa"], "sse2")
        self.assertEqual([info.name for info in model.inputs], ["x"])
        x = np.arange(4, dtype=np.float32)
        np.testing.assert_array_equal(model(x), x[:2])

    def test_saves_and_pickles(self):
        want = small_models.linear(X)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(self.model))(X), want)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "linear.corf"
            self.model.save(path)
            np.testing.assert_array_equal(corf.compile(path)(X), want)
            session = corf.InferenceSession(path)
            np.testing.assert_array_equal(session.run(None, {"x": X})[0], want)
            self.assertEqual(session.get_inputs()[0].shape, [2, 3])

    def test_tunes(self):
        told = []
        with tempfile.TemporaryDirectory() as folder:
            model = corf.compile(small_models.linear_model(), {"batch": 2}, plan_cache=folder)
            result = model.tune(2, told.append)
        self.assertGreater(result["num_measured"], 0)
        self.assertTrue(all(0 <= share <= 1 for share in told))
        np.testing.assert_array_equal(model(X), small_models.linear(X))

    def test_the_command(self):
        version = subprocess.run([sys.executable, "-m", "corf", "--version"], check=True,
                                 capture_output=True, text=True).stdout
        self.assertEqual(version, corf.__version__ + "\n")


if __name__ == "__main__":
    unittest.main()
