"""corf.backend passes the onnx package's own tests of backends: of some operators each, the others
are those of `corf conformance`."""

import unittest

import numpy as np
import onnx
import onnx.backend.test
from onnx import helper

import corf
import corf.backend
import small_models

X = np.array([[1, 2, 3], [-1, 0, 40]], np.float32)


class BackendTest(unittest.TestCase):
    def test_prepare_and_run(self):
        model = onnx.load_from_string(small_models.linear_model())
        prepared = corf.backend.prepare(model, threads=1)
        for inputs in ([X], X, {"x": X}):
            results = prepared.run(inputs)
            np.testing.assert_array_equal(results[0], small_models.linear(X))
            np.testing.assert_array_equal(results["y"], small_models.linear(X))
        np.testing.assert_array_equal(corf.backend.run_model(model, [X])[0],
                                      small_models.linear(X))

    def test_run_node(self):
        results = corf.backend.run_node(helper.make_node("Sub", ["a", "b"], ["c"]), [X, X[:1]])
        np.testing.assert_array_equal(results[0], X - X[:1])
        results = corf.backend.run_node(helper.make_node("Less", ["a", "b"], ["c"]), [X, X[:1]],
                                        outputs_info=[(np.bool_, (2, 3))])
        np.testing.assert_array_equal(results["c"], X < X[:1])

    def test_devices_and_models_that_it_does_not_take(self):
        model = onnx.load_from_string(small_models.linear_model())
        self.assertTrue(corf.backend.supports_device("CPU"))
        self.assertFalse(corf.backend.supports_device("CUDA"))
        self.assertFalse(corf.backend.supports_device("abacus"))
        with self.assertRaises(ValueError):
            corf.backend.prepare(model, "CUDA")
        self.assertTrue(corf.backend.is_compatible(model))
        strange = onnx.load_from_string(small_models.linear_model(batch=2))
        strange.graph.node[0].op_type = "NoSuchOperator"
        del strange.graph.node[0].input[1]
        self.assertFalse(corf.backend.is_compatible(strange))


SUITE = onnx.backend.test.BackendTest(corf.backend, __name__)
for pattern in ("test_relu_cpu", "test_softmax_axis_1_cpu", "test_matmul_2d_cpu", "test_gather_0_cpu",
                "test_conv_with_strides_padding_cpu", "test_reduce_sum_keepdims_random_cpu",
                "test_layer_normalization_2d_axis1_cpu", "test_resize_upsample_sizes_nearest_cpu",
                "test_lstm_defaults_cpu", "test_argmax_keepdims_random_cpu", "test_top_k_cpu",
                "test_quantizelinear_cpu", "test_where_example_cpu"):
    SUITE.include(f"^{pattern}$")
CASES = SUITE.test_cases
CHOSEN = []
for case in CASES.values():
    for name in [name for name in vars(case) if name.startswith("test_")]:
        if getattr(getattr(case, name), "__unittest_skip__", False):
            delattr(case, name)
        else:
            CHOSEN.append(name)
globals().update(CASES)


class ChosenTest(unittest.TestCase):
    def test_all_were_found(self):
        self.assertEqual(len(CHOSEN), 13, CHOSEN)


if __name__ == "__main__":
    unittest.main()
