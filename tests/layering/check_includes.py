"""Checks every #include of src/, tools/ and examples/ against the table in docs/architecture.md.

Usage: check_includes.py REPOSITORY
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
ROW = re.compile(r"^\|\s*`(\w+)/`\s*\|[^|]*\|\s*([^|]*?)\s*\|\s*$", re.MULTILINE)
# Which folders may include a library's headers; others are free.
LIBRARIES = {"llvm": {"codegen"}, "google": {"onnx"}, "corf": {"session", "api", "deploy"}}


def read_table(text):
    """{folder: folders that it may include} from the rows `| `folder/` | holds | a, b |`."""
    table = {}
    for folder, allowed in ROW.findall(text):
        below = {"support": set(), "tensor": {"support"}}
        table[folder] = {folder} | below.get(folder, {"support", "tensor"})
        if allowed != "-":
            table[folder] |= {name.strip() for name in allowed.split(",")}
    return table


def includes(path):
    for match in INCLUDE.finditer(path.read_text(encoding="utf-8")):
        quoted, angled = match.groups()
        yield quoted or angled


def sources(folder):
    return sorted(path for pattern in ("*.h", "*.hpp", "*.cpp") for path in folder.rglob(pattern))


def check_source_folders(repository, table):
    """Faults of src/ as sentences."""
    root = repository / "src"
    folders = {path.name for path in root.iterdir() if path.is_dir() and sources(path)}
    for folder in sorted(folders - table.keys()):
        yield f"src/{folder} is not in the table of docs/architecture.md"
    for folder in sorted(table):
        for unknown in sorted(table[folder] - table.keys()):
            yield f"the table lets {folder} use {unknown}, which is not a folder"
    for folder in sorted(folders & table.keys()):
        for path in sources(root / folder):
            for name in includes(path):
                first, slash, _ = name.partition("/")
                where = path.relative_to(repository)
                if slash and first in table and first not in table[folder]:
                    yield f"{where} includes {name}: {folder} may not use {first}"
                if slash and folder not in LIBRARIES.get(first, {folder}):
                    yield f"{where} includes {name}: only {sorted(LIBRARIES[first])} may"


def check_users(repository, table):
    """tools/ and examples/ see the public interface only; tools/ besides it what files and names are
    treated with."""
    for user, allowed in (("tools", {"support"}), ("examples", set())):
        for path in sources(repository / user):
            for name in includes(path):
                if "/" in name and name.split("/")[0] in table.keys() - allowed:
                    yield f"{path.relative_to(repository)} includes {name}: only corf/ is public"


def check(repository):
    table = read_table((repository / "docs" / "architecture.md").read_text(encoding="utf-8"))
    if not table:
        return ["docs/architecture.md has no table of folders"]
    return [*check_source_folders(repository, table), *check_users(repository, table)]


def main():
    faults = check(pathlib.Path(sys.argv[1]))
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
