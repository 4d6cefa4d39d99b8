"""corf.mlserver in a real MLServer on loopback."""

import json
import pathlib
import sys
import unittest

import grpc
import numpy as np

from corf_command import CommandTest, linear_model

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "serving"))
from loopback import CORF, ONNXRUNTIME, Server  # noqa: E402

X = np.array([[1, 0, 2], [-1, -1, -1]], np.float32)
Y = np.array([[11.5, 0], [0, 0]], np.float32)


class MlServerTest(CommandTest):
    def setUp(self):
        super().setUp()
        model = self.write("linear.onnx", linear_model())
        self.server = Server(model, {"linear": CORF, "peer": ONNXRUNTIME}, threads=1)
        self.addCleanup(self.server.__exit__)

    def test_requests(self):
        metadata = json.loads(self.server.get("v2/models/linear"))
        self.assertEqual(metadata["inputs"], [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}])
        self.assertEqual(metadata["outputs"], [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}])

        status, answer = self.server.rest("linear", {"x": X})
        self.assertEqual(status, 200, answer)
        [output] = answer["outputs"]
        self.assertEqual((output["name"], output["shape"]), ("y", [2, 2]))
        np.testing.assert_array_equal(np.reshape(output["data"], (2, 2)), Y)

        for name in ("linear", "peer"):
            np.testing.assert_array_equal(self.server.binary(name, {"x": X})["y"], Y)

        status, answer = self.server.rest("linear", {"x": np.zeros((2, 5), np.float32)})
        self.assertEqual(status, 400)
        self.assertIn("'x'", answer["error"])
        with self.assertRaisesRegex(grpc.RpcError, "'x'"):
            self.server.binary("linear", {"x": np.zeros((2, 5), np.float32)})
        # It still serves.
        np.testing.assert_array_equal(self.server.binary("linear", {"x": X[:1]})["y"], Y[:1])


if __name__ == "__main__":
    unittest.main()
