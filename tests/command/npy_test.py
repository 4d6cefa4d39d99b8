"""Reading and writing .npy files, against NumPy."""

import io
import unittest

import numpy as np
from numpy.lib import format as npy_format
from onnx import helper

from corf_command import CommandTest, make_model, value

TYPES = [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64,
         np.float16, np.float32, np.float64]


def npy_bytes(array, version):
    file = io.BytesIO()
    npy_format.write_array(file, array, version=version)
    return file.getvalue()


class NpyTest(CommandTest):
    def identity(self, array, content=None):
        """What comes back of `array` (or of the file `content`) through a model without arithmetic."""
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        model = self.write("model.onnx", make_model(
            [helper.make_node("Identity", ["x"], ["y"])],
            [value("x", array.shape, dtype)], [value("y", array.shape, dtype)]))
        file = self.write("x.npy", array if content is None else content)
        self.check_succeeds("run", model, "--input", f"x={file}", "--output-dir",
                            self.folder / "out")
        return np.load(self.folder / "out" / "y.npy")

    def test_types(self):
        for dtype in TYPES:
            with self.subTest(dtype=dtype.__name__):
                array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
                result = self.identity(array)
                self.assertEqual(result.dtype, array.dtype)
                np.testing.assert_array_equal(result, array)

    def test_versions_and_orders(self):
        array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        for version in ((1, 0), (2, 0), (3, 0)):
            for order in (array, np.asfortranarray(array)):
                with self.subTest(version=version, fortran=order is not array):
                    np.testing.assert_array_equal(
                        self.identity(array, npy_bytes(order, version)), array)

    def test_ranks(self):
        for shape in ((), (5,), (1, 1, 1, 1, 1, 2)):
            with self.subTest(shape=shape):
                array = np.full(shape, 3, np.float32)
                result = self.identity(array)
                self.assertEqual(result.shape, shape)
                np.testing.assert_array_equal(result, array)

    def test_damaged_files(self):
        array = np.arange(6, dtype=np.float32)
        model = self.write("model.onnx", make_model(
            [helper.make_node("Relu", ["x"], ["y"])], [value("x", [6])], [value("y", [6])]))
        good = npy_bytes(array, (1, 0))
        files = {
            "empty": b"",
            "text": b"1 2 3 4 5 6\n",
            "cut in the header": good[:40],
            "cut in the data": good[:-1],
            "too long": good + b"\0",
            "version 9": good[:6] + b"\x09" + good[7:],
            "header": good.replace(b"'shape'", b"'shaqe'"),
            "huge shape": good.replace(b"(6,), }" + 18 * b" ", b"(9999999999999999999,), }"),
            "shape that overflows": good.replace(b"(6,), }" + 23 * b" ",
                                                 b"(4294967296, 4294967296), }   "),
            "big-endian": npy_bytes(array.astype(">f4"), (1, 0)),
            "complex": npy_bytes(array.astype(np.complex64), (1, 0)),
        }
        for name, content in files.items():
            with self.subTest(name=name):
                self.assertNotEqual(content, good)
                path = self.write("x.npy", content)
                self.check_fails("run", model, "--input", f"x={path}", says=["x.npy"])


if __name__ == "__main__":
    unittest.main()
