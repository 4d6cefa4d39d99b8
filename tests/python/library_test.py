"""The Python package's declarations of the C interface are those of the header."""

import ctypes
import pathlib
import re
import unittest

from corf import Code, _library

HEADER = (pathlib.Path(__file__).parents[2] / "include" / "corf" / "corf.h").read_text()
TEXT = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
FUNCTION = re.compile(r"CORF_API\s+([^;(]+?)(\w+)\(((?:[^()]|\([^()]*\))*)\);")
SCALARS = {"int": ctypes.c_int, "corf_dtype": ctypes.c_int, "corf_code": ctypes.c_int,
           "corf_kind": ctypes.c_int, "size_t": ctypes.c_size_t, "int64_t": ctypes.c_int64, "double": ctypes.c_double,
           "const char*": ctypes.c_char_p, "void": None}


def split(parameters):
    """Types of the parameters, at commas outside of parentheses."""
    texts = [" ".join(text.split()) for text in re.split(r",(?![^()]*\))", parameters)]
    return [re.sub(r"\w+$", "", text).strip() for text in texts if text not in ("", "void")]


def is_pointer(declared):
    return declared in (ctypes.c_void_p, ctypes.c_char_p, _library.PROGRESS) or \
        hasattr(declared, "contents")


class LibraryTest(unittest.TestCase):
    def setUp(self):
        self.functions = {name: (result.strip(), split(parameters))
                          for result, name, parameters in FUNCTION.findall(TEXT)}

    def check_type(self, declared, written, where):
        if written in SCALARS:
            self.assertIs(declared, SCALARS[written], where)
        else:
            self.assertTrue(is_pointer(declared), where)
            pointee = re.match(r"(?:const )?(corf_\w+)\*$", written)
            if pointee and hasattr(_library, pointee[1]):
                self.assertIs(declared._type_, getattr(_library, pointee[1]), where)

    def test_functions(self):
        declared = {name: ("corf_error*", types) for name, types in _library.FALLIBLE.items()}
        declared.update(_library.ANSWERING)
        self.assertGreater(len(declared), 35)
        for name, (result, types) in declared.items():
            written_result, written = self.functions[name]
            if result == "corf_error*":
                self.assertEqual(written_result, result, name)
            else:
                self.check_type(result, written_result, name)
            self.assertEqual(len(types), len(written), name)
            for one, text in zip(types, written):
                self.check_type(one, text, f"{name}: {text}")

    def test_structs(self):
        structs = [kind for kind in vars(_library).values()
                   if isinstance(kind, type) and issubclass(kind, ctypes.Structure)]
        self.assertEqual(len(structs), 9)
        for struct in structs:
            body = re.search(r"typedef struct " + struct.__name__ + r" \{(.*?)\}", TEXT,
                             re.DOTALL)[1]
            fields = []
            for text in filter(None, map(str.strip, body.split(";"))):
                # "size_t a, b": a type, and one name or several.
                written, names = re.fullmatch(r"(.*?)((?:\w+, )*\w+)", text, re.DOTALL).groups()
                fields += [(" ".join(written.split()), name) for name in names.split(", ")]
            self.assertEqual([name for name, _ in struct._fields_], [name for _, name in fields])
            for (name, declared), (written, _) in zip(struct._fields_, fields):
                self.check_type(declared, written, f"{struct.__name__}.{name}")

    def test_codes_and_types(self):
        codes = dict(re.findall(r"CORF_(\w+) = (\d+)", re.search("enum corf_code (.*?)}", TEXT,
                                                                 re.DOTALL)[1]))
        self.assertEqual({code.name: str(int(code)) for code in Code}, codes)
        types = re.findall(r"CORF_(\w+) = (\d+)", re.search("enum corf_dtype (.*?)}", TEXT,
                                                            re.DOTALL)[1])
        types.remove(("DTYPE_RANGE", "0"))  # of 0x7fffffff
        self.assertEqual(len(types), len(_library.TYPE_NAMES))
        for name, number in types:
            dtype = _library.NUMPY_TYPES[int(number)]
            if name not in ("BF16", "BOOL"):
                kind = {"F": "f", "I": "i", "U": "u"}[name[0]]
                self.assertEqual((dtype.kind, dtype.itemsize), (kind, int(name[1:]) // 8))


if __name__ == "__main__":
    unittest.main()
