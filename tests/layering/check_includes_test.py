"""Tests that check_includes finds what it is there to find."""

import pathlib
import tempfile
import unittest

import check_includes

TABLE = """
| folder | holds | may use |
|---|---|---|
| `support/` | results | - |
| `tensor/` | arrays | - |
| `graph/` | graphs | - |
| `loop/` | loops | graph |
| `codegen/` | code | loop |
"""


class CheckIncludesTest(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as folder:
            repository = pathlib.Path(folder)
            for name, text in {"docs/architecture.md": TABLE, "src/graph/a.h": "", **files}.items():
                path = repository / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_includes.check(repository)

    def test_allowed(self):
        self.assertEqual(self.check({
            "src/loop/a.cpp": '#include <vector>\n#include "graph/a.h"\n#include "support/r.h"\n',
            "src/codegen/a.cpp": "#include <llvm/IR/Module.h>\n",
            "tools/corf/a.cpp": '#include <corf/corf.hpp>\n#include "settings.h"\n'
                                '#include "support/read_file.h"\n',
        }), [])

    def test_forbidden_folder(self):
        [fault] = self.check({"src/graph/b.cpp": '#  include "loop/a.h"\n'})
        self.assertIn("graph may not use loop", fault)

    def test_forbidden_library(self):
        [fault] = self.check({"src/loop/a.cpp": '#include "llvm/IR/Module.h"\n'})
        self.assertIn("only ['codegen'] may", fault)

    def test_unknown_folder(self):
        [fault] = self.check({"src/extra/a.h": ""})
        self.assertIn("src/extra is not in the table", fault)

    def test_inside_seen_by_the_command(self):
        [fault] = self.check({"tools/corf/a.cpp": '#include "graph/a.h"\n'})
        self.assertIn("only corf/ is public", fault)


if __name__ == "__main__":
    unittest.main()
