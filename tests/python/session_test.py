"""InferenceSession does what a program written for ONNX Runtime asks of it."""

import array
import asyncio
import copy
import multiprocessing
import pathlib
import pickle
import sys
import tempfile
import threading
import time
import tracemalloc
import unittest
import warnings

import numpy as np
import onnx

import corf
import corf as onnxruntime
import small_models

X = np.array([[1, 2, 3], [-1, 0, 40]], np.float32)


def run_pickled(session):
    """In another process."""
    return session.run(None, {"x": X})[0]


class SessionTest(unittest.TestCase):
    def setUp(self):
        self.session = onnxruntime.InferenceSession(small_models.linear_model(),
                                                    providers=["CPUExecutionProvider"])

    def test_runs(self):
        for x in (X, X[:1], np.ones((7, 3), np.float32), X):
            results = self.session.run(None, {"x": x})
            self.assertEqual(len(results), 1)
            self.assertEqual(results[0].dtype, np.float32)
            np.testing.assert_array_equal(results[0], small_models.linear(x))

    def test_sources(self):
        data = small_models.linear_model()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "linear.onnx"
            path.write_bytes(data)
            for source in (str(path), path, data, bytearray(data), onnx.load_from_string(data)):
                session = onnxruntime.InferenceSession(source)
                np.testing.assert_array_equal(session.run(None, {"x": X})[0],
                                              small_models.linear(X))
        with self.assertRaises(TypeError):
            onnxruntime.InferenceSession(3)

    def test_describes_the_model(self):
        session = onnxruntime.InferenceSession(small_models.two_outputs())
        self.assertEqual([tuple(one) for one in session.get_inputs()],
                         [("a", [2, "n"], "tensor(float)"), ("b", [2, "n"], "tensor(float)")])
        self.assertEqual([tuple(one) for one in session.get_outputs()],
                         [("sum", [2, "n"], "tensor(float)"), ("flags", [2, "n"], "tensor(bool)")])
        self.assertEqual(session.get_providers(), ["CPUExecutionProvider"])
        options = onnxruntime.SessionOptions()
        options.add_free_dimension_override_by_name("n", 5)
        session = onnxruntime.InferenceSession(small_models.two_outputs(), options)
        self.assertEqual(session.get_inputs()[1].shape, [2, 5])

    def test_model_meta(self):
        model = onnx.load_from_string(small_models.linear_model(metadata={"names": "a,b"}))
        model.producer_name, model.model_version, model.domain = "tests", -3, "here"
        model.doc_string, model.graph.doc_string = "what it does", "how"
        meta = onnxruntime.InferenceSession(model).get_modelmeta()
        self.assertEqual(vars(meta), {
            "producer_name": "tests", "version": -3, "domain": "here", "graph_name": "test",
            "description": "what it does", "graph_description": "how",
            "custom_metadata_map": {"names": "a,b"}})

    def test_outputs_by_name(self):
        session = onnxruntime.InferenceSession(small_models.two_outputs())
        a, b = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[3, 2, 1], [9, 9, 0]])
        flags, total = session.run(["flags", "sum"], {"b": b, "a": a})
        np.testing.assert_array_equal(flags, a < b)
        np.testing.assert_array_equal(total, a + b)
        self.assertEqual(flags.dtype, np.bool_)
        with self.assertRaisesRegex(corf.InvalidArgument, r"no outputs \['nope'\]"):
            session.run(["nope"], {"a": a, "b": b})

    def test_element_types(self):
        for dtype in (np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32,
                      np.int64, np.uint64, np.float16, np.float32, np.float64):
            with self.subTest(dtype=dtype.__name__):
                session = onnxruntime.InferenceSession(small_models.copies(dtype))
                x = np.array([0, 1, 1, 0] if dtype is np.bool_ else [0, 1, 2, 100]).astype(dtype)
                y = session.run(None, {"x": x})[0]
                self.assertEqual(y.dtype, x.dtype)
                np.testing.assert_array_equal(y, x + x)

    def test_any_layout_and_kind_of_array(self):
        want = small_models.linear(X)
        wide = np.zeros((4, 6), np.float32)
        wide[::2, ::2] = X
        unaligned = np.frombuffer(b"-" + X.tobytes(), np.float32, offset=1).reshape(2, 3)
        read_only = X.copy()
        read_only.flags.writeable = False

        class Interface:
            __array_interface__ = X.__array_interface__

        class Dlpack:
            def __dlpack__(self, **arguments):
                return X.__dlpack__(**arguments)

            def __dlpack_device__(self):
                return X.__dlpack_device__()

        inputs = {"Fortran": np.asfortranarray(X), "strided": wide[::2, ::2], "list": X.tolist(),
                  "big-endian": X.astype(">f4"), "unaligned": unaligned, "read-only": read_only,
                  "buffer": memoryview(array.array("f", X.ravel())).cast("B").cast("f", (2, 3)),
                  "array interface": Interface(), "DLPack": Dlpack()}
        for kind, x in inputs.items():
            with self.subTest(kind=kind):
                np.testing.assert_array_equal(self.session.run(None, {"x": x})[0], want)

    def test_wrong_feeds(self):
        for feed, says in (({}, r"inputs \['x'\] are missing"),
                           ({"x": X, "z": X}, r"no inputs \['z'\]"),
                           ({"x": X.astype(np.float64)}, "'x' has elements of type float64"),
                           ({"x": np.ones((2, 4), np.float32)}, "x"),
                           ({"x": np.ones(3, np.float32)}, "x")):
            with self.subTest(feed=str(feed)), self.assertRaisesRegex(corf.InvalidArgument, says):
                self.session.run(None, feed)
            np.testing.assert_array_equal(self.session.run(None, {"x": X})[0],
                                          small_models.linear(X))

    def test_errors_carry_codes(self):
        with self.assertRaises(corf.InvalidModel) as caught:
            onnxruntime.InferenceSession(b"no model")
        self.assertEqual(caught.exception.code, corf.Code.INVALID_MODEL)
        self.assertIsInstance(caught.exception, RuntimeError)
        with self.assertRaises(corf.IoError) as caught:
            onnxruntime.InferenceSession("/no/such/file.onnx")
        self.assertIn("/no/such/file.onnx", str(caught.exception))
        error = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((type(error), str(error)), (corf.IoError, str(caught.exception)))
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("corf.isa", "vax")
        with self.assertRaises(corf.InvalidArgument):
            onnxruntime.InferenceSession(small_models.linear_model(), options)

    def test_options(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("corf.isa", "sse2")
        session = onnxruntime.InferenceSession(small_models.linear_model(), sess_options=options)
        session.run(None, {"x": X}, onnxruntime.RunOptions())
        self.assertEqual(session._model.session.threads(), 1)
        self.assertEqual(session._latest.describe()["isa"], "sse2")

    def test_unknown_providers_warn(self):
        with self.assertWarnsRegex(UserWarning, "CUDAExecutionProvider"):
            onnxruntime.InferenceSession(small_models.linear_model(),
                                         providers=["CUDAExecutionProvider",
                                                    ("CPUExecutionProvider", {})])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            onnxruntime.InferenceSession(small_models.linear_model())

    def test_run_into(self):
        y = np.empty((2, 2), np.float32)
        for _ in range(2):
            y[...] = np.nan
            self.session.run_into(None, {"x": X}, [y])
            np.testing.assert_array_equal(y, small_models.linear(X))
        session = onnxruntime.InferenceSession(small_models.two_outputs())
        flags = np.empty((2, 3), np.bool_)
        session.run_into(["flags"], {"a": X, "b": -X}, [flags])
        np.testing.assert_array_equal(flags, X < -X)
        for wrong in (np.empty((2, 3), np.float32), np.empty((2, 2), np.float64),
                      np.asfortranarray(np.empty((2, 2), np.float32)), X):
            with self.assertRaises(ValueError):
                self.session.run_into(None, {"x": X}, [wrong])
        read_only = np.empty((2, 2), np.float32)
        read_only.flags.writeable = False
        with self.assertRaises(ValueError):
            self.session.run_into(None, {"x": X}, [read_only])
        shared = np.zeros(9, np.float32)
        with self.assertRaisesRegex(ValueError, "shares memory"):
            self.session.run_into(None, {"x": shared[:6].reshape(2, 3)},
                                  [shared[5:].reshape(2, 2)])

    def test_io_binding(self):
        binding = self.session.io_binding()
        binding.bind_cpu_input("x", X)
        binding.bind_output("y")
        self.session.run_with_iobinding(binding)
        np.testing.assert_array_equal(binding.copy_outputs_to_cpu()[0], small_models.linear(X))
        y = np.zeros((2, 2), np.float32)
        binding.clear_binding_outputs()
        binding.bind_input("x", "cpu", 0, np.float32, X.shape, X.ctypes.data)
        binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
        self.session.run_with_iobinding(binding)
        np.testing.assert_array_equal(y, small_models.linear(X))
        value = onnxruntime.OrtValue.ortvalue_from_numpy(X)
        self.assertEqual((value.shape(), value.data_type()), ([2, 3], "tensor(float)"))
        results = self.session.run_with_ort_values(["y"], {"x": value})
        np.testing.assert_array_equal(results[0].numpy(), small_models.linear(X))

    def test_ranges_of_shapes_are_compiled_at_once(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        options = corf.SessionOptions()
        options.add_session_config_entry("corf.executable_cache", f"{folder.name}/executables")
        session = corf.InferenceSession(small_models.linear_model(), options)
        self.assertEqual(session.compile({"batch": range(1, 5)}), 4)
        self.assertEqual(session.compile({"x": ([5, 6], 3)}), 2)
        self.assertEqual(session.compile({"batch": 7}), 1)
        for batch in range(1, 8):
            x = np.arange(3 * batch, dtype=np.float32).reshape(batch, 3)
            np.testing.assert_array_equal(session.run(None, {"x": x})[0], small_models.linear(x))
        self.assertEqual(len(list(pathlib.Path(folder.name).glob("*/*.corf"))), 7)  # and no more
        with self.assertRaisesRegex(corf.InvalidArgument, "9 sets of shapes, of which .* keeps 8"):
            session.compile({"batch": range(9)})

    def test_values_that_decide_shapes(self):
        session = onnxruntime.InferenceSession(small_models.reshaped_by_input())
        x = np.arange(6, dtype=np.float32)
        for shape in ((2, 3), (3, 2), (-1, 1), (2, 3)):
            y, = session.run(None, {"x": x, "shape": np.array(shape, np.int64)})
            np.testing.assert_array_equal(y, x.reshape(shape))

    def test_shapes_that_depend_on_data(self):
        session = onnxruntime.InferenceSession(small_models.positions_of_nonzeros())
        for x, expected in (([0, 3, 0, 5], [1, 3]), ([0, 0, 0, 0], []), ([1] * 4, [0, 1, 2, 3])):
            (y,) = session.run(None, {"x": np.array(x, np.float32)})
            np.testing.assert_array_equal(y, np.array(expected, np.int64))
            self.assertEqual(y.dtype, np.int64)

    def test_values_that_decide_branches(self):
        session = onnxruntime.InferenceSession(small_models.branch_by_input())
        x = np.arange(4, dtype=np.float32)
        for rate, want in ((16000, x + 1), (8000, x[:2]), (16000, x + 1)):
            for _ in range(2):
                y, = session.run(None, {"x": x, "rate": np.array(rate, np.int64)})
                np.testing.assert_array_equal(y, want)

    def test_neither_inputs_nor_outputs_are_copied(self):
        session = onnxruntime.InferenceSession(small_models.large())
        x = np.ones((1024, 1024), np.float32)
        y = np.empty_like(x)
        session.run(None, {"x": x})
        tracemalloc.start()
        try:
            session.run_into(None, {"x": x}, [y])
            _, peak = tracemalloc.get_traced_memory()
            self.assertLess(peak, x.nbytes / 10)
            tracemalloc.reset_peak()
            session.run(None, {"x": x})
            _, peak = tracemalloc.get_traced_memory()
            self.assertLess(peak, x.nbytes * 1.1)  # the result
        finally:
            tracemalloc.stop()

    def test_the_lock_is_released(self):
        session = onnxruntime.InferenceSession(small_models.large())
        x = np.ones((1024, 1024), np.float32)
        session.run(None, {"x": x})
        times, done = [], threading.Event()

        def record():
            while not done.wait(0.0002):
                times.append(time.perf_counter())

        thread = threading.Thread(target=record)
        thread.start()
        inside = 0
        for _ in range(10):
            start = time.perf_counter()
            session.run(None, {"x": x})
            quarter = (time.perf_counter() - start) / 4
            inside += sum(start + quarter < one < start + 3 * quarter for one in times)
        done.set()
        thread.join()
        self.assertGreater(inside, 0)

    def test_threads_and_asyncio(self):
        results = [None] * 8

        def work(i):
            for _ in range(20):
                x = np.full((1 + i % 3, 3), i, np.float32)
                results[i] = np.array_equal(self.session.run(None, {"x": x})[0],
                                            small_models.linear(x))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [True] * 8)

        async def gather():
            runs = [asyncio.to_thread(self.session.run, None, {"x": X}) for _ in range(4)]
            return await asyncio.gather(*runs)

        for result in asyncio.run(gather()):
            np.testing.assert_array_equal(result[0], small_models.linear(X))

    def test_run_async(self):
        told, done = [], threading.Event()

        def callback(results, data, error):
            told.append((results, data, error))
            done.set()

        self.session.run_async(None, {"x": X}, callback, "mine")
        self.assertTrue(done.wait(60))
        np.testing.assert_array_equal(told[0][0][0], small_models.linear(X))
        self.assertEqual(told[0][1:], ("mine", ""))
        done.clear()
        self.session.run_async(None, {}, callback)
        self.assertTrue(done.wait(60))
        self.assertIn("missing", told[1][2])

    def test_pickles(self):
        for session in (pickle.loads(pickle.dumps(self.session)), copy.deepcopy(self.session)):
            np.testing.assert_array_equal(session.run(None, {"x": X})[0], small_models.linear(X))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply(run_pickled, (self.session,)),
                                          small_models.linear(X))

    def test_explain_and_profile(self):
        explanation = self.session.explain({"batch": 2})
        self.assertEqual([group["nodes"] for group in explanation["groups"]],
                         [["product", "shift+clip"]])
        link = explanation["groups"][0]["links"][0]
        self.assertEqual((link["producer"], link["strategy"]), ("product", "inline"))
        self.assertIn("<table>", explanation._repr_html_())
        profile = self.session.profile({"x": X})
        self.assertEqual(len(profile["steps"]), explanation["groups"][0]["num_steps"])
        self.assertEqual(profile["steps"][0]["work_flops"], 2 * (2 * 2 * 3 + 2) + 4)
        self.assertGreater(profile["time_ms"], 0)
        self.assertIn("GFLOP/s", profile._repr_html_())

    def test_replaces_onnxruntime(self):
        before = sys.modules.get("onnxruntime")
        try:
            corf.replace_onnxruntime()
            import onnxruntime as replaced
            self.assertIs(replaced, corf)
            from onnxruntime import InferenceSession
            self.assertIs(InferenceSession, corf.InferenceSession)
            from onnxruntime.capi.onnxruntime_pybind11_state import (Fail, InvalidProtobuf,
                                                                     NoSuchFile)
            with self.assertRaises(NoSuchFile):
                InferenceSession("/no/such/file.onnx")
            with self.assertRaises(InvalidProtobuf) as caught:
                InferenceSession(b"no model")
            self.assertIsInstance(caught.exception, Fail)
        finally:
            for name in [name for name in sys.modules if name.startswith("onnxruntime")]:
                del sys.modules[name]
            if before is not None:
                sys.modules["onnxruntime"] = before


if __name__ == "__main__":
    unittest.main()
