"""Bad files and words beside the model: compiled files, arrays, plans, paths, usage."""

import os
import pathlib
import random
import socket
import stat
import struct
import zlib

from corf_command import linear_model

USAGE = 2


def own_device(path, number):
    """/dev/null (3) or /dev/full (7) under a name of our own, for the test is whether a device
    survives being written to. Who may not make one cannot replace the system's either."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, number))
    except PermissionError:
        return pathlib.Path({3: "/dev/null", 7: "/dev/full"}[number])
    return path


def make_socket(folder):
    """Bound by a short name, as the system wants it."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        socket.socket(socket.AF_UNIX).bind("s")
    finally:
        os.chdir(before)


# ---- compiled files --------------------------------------------------------------------------

def compiled_files(corpus, sound):
    """`sound`: bytes of a .corf file."""
    def add(name, content, says):
        corpus.add(f"compiled-{name}", ["run", corpus.file("model.corf", bytes(content))], says)

    damaged = "model.corf': damaged file.*compile the model again"
    for i in range(1, 16):
        size = 8 + (len(sound) - 9) * i // 16
        add(f"cut-{i}", sound[:size], damaged)
    add("magic-alone", sound[:8], damaged)
    for format_number in (0, 1, 2, 0xffffffff):
        changed = bytearray(sound)
        struct.pack_into("<I", changed, 8, format_number)
        add(f"format-{format_number}", changed, f"format {format_number}.*compile the model again")
    for place in (12, 16, 24, 32, 40, 48, 56, 64, 72, 80):
        changed = bytearray(sound)
        changed[place] ^= 0x40
        add(f"header-byte-{place}", changed, damaged)
    for section, name in enumerate(("steps", "code", "constants")):
        offset, size = struct.unpack_from("<QQ", sound, 16 + 24 * section)
        if size:
            changed = bytearray(sound)
            changed[offset + size // 2] ^= 1
            add(f"{name}-bit", changed, f"checksum of its {name} is wrong")
        for what, place, number in (("offset", 0, (1 << 64) - 1), ("size", 8, (1 << 64) - 1),
                                    ("size-of-file", 8, len(sound) + 1)):
            changed = bytearray(sound)
            struct.pack_into("<Q", changed, 16 + 24 * section + place, number)
            add(f"{name}-{what}", signed(changed), f"ends after .* within its {name}")
    numbers = random.Random(11)
    offset, size = struct.unpack_from("<QQ", sound, 16)
    for i in range(10):
        changed = bytearray(sound)
        for _ in range(40):
            changed[offset + numbers.randrange(size)] = numbers.randrange(256)
        struct.pack_into("<I", changed, 32, zlib.crc32(changed[offset:offset + size]))
        add(f"steps-noise-{i}", signed(changed), "model.corf': damaged|unknown ISA|routine|node")
    good = corpus.file("model.corf", sound)
    for command in ("compare", "explain", "tune"):
        corpus.add(f"compiled-{command}", [command, good], "needs the .onnx model")
    corpus.add("compiled-stage", ["inspect", good, "--stage", "graph"], "needs the .onnx model")
    corpus.add("compiled-shape", ["run", good, "--shape", "x=7x3"], "'x'.*7x3")


def signed(content):
    """With the right checksum of the header."""
    struct.pack_into("<I", content, 12, 0)
    struct.pack_into("<I", content, 12, zlib.crc32(bytes(content[:88])))
    return content


# ---- arrays ----------------------------------------------------------------------------------

def npy(header, data=b"", version=1):
    text = header.encode("latin1") + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def arrays(corpus):
    model = corpus.file("model.onnx", linear_model())

    def add(name, content, says):
        array = corpus.file("x.npy", content)
        corpus.add(f"array-{name}", ["run", model, "--input", f"x={array}"], says)

    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
    data = bytes(24)
    good = npy(head, data)
    for name, content, says in (
            ("empty", b"", "not a .npy file"), ("short", good[:7], "not a .npy file"),
            ("zip", b"PK\x03\x04" + bytes(100), "not a .npy file"),
            ("version-9", npy(head, data, 1).replace(b"Y\x01", b"Y\x09"), "version 9"),
            ("cut-in-length", good[:9], "not a .npy file"),
            ("cut-in-header", good[:30], "cut off in its header"),
            ("cut-in-data", good[:-1], "does not fit the 23 bytes"),
            ("too-long", good + b"\0", "does not fit the 25 bytes"),
            ("no-header", npy(""), "header is damaged"), ("no-data", npy(head), "0 bytes"),
            ("header-of-4-gib", b"\x93NUMPY\x02\0\xff\xff\xff\xff", "cut off in its header"),
            ("not-a-dictionary", npy("[1, 2]", data), "header is damaged"),
            ("unclosed", npy(head[:-3], data), "header is damaged"),
            ("code", npy("__import__('os').system('true')", data), "header is damaged"),
            ("key-twice", npy(head.replace("'shape'", "'descr': '<f4', 'shape'"), data),
             "header is damaged"),
            ("unknown-key", npy(head.replace("fortran", "basic"), data), "header is damaged"),
            ("negative-extent", npy(head.replace("2, 3", "-2, 3"), data), "header is damaged"),
            ("huge-extent", npy(head.replace("2, 3", "9" * 30), data), "header is damaged"),
            ("overflow", npy(head.replace("2, 3", f"{1 << 62}, {1 << 62}"), data), "24 bytes"),
            ("more-than-it-has", npy(head.replace("2, 3", f"{1 << 40}, 3"), data), "24 bytes"),
            ("big-endian", npy(head.replace("<f4", ">f4"), data), "little-endian"),
            ("object", npy(head.replace("<f4", "|O"), data), "type '.O' is not supported"),
            ("unicode", npy(head.replace("<f4", "<U3"), data), "'<U3' is not supported"),
            ("complex", npy(head.replace("<f4", "<c8"), bytes(48)), "'<c8' is not supported"),
            ("escape", npy(head.replace("<f4", "\x1b[2J"), data), r"'\\x1b\[2J' is not supported"),
            ("float64", npy(head.replace("<f4", "<f8"), bytes(48)), "'x'.*f32.*f64"),
            ("int64", npy(head.replace("<f4", "<i8"), bytes(48)), "'x'.*f32.*i64"),
            ("wrong-shape", npy(head.replace("2, 3", "2, 4"), bytes(32)), "'x'.*2x4"),
            ("wrong-rank", npy(head.replace("2, 3", "6,"), data), "'x'.*6"),
            ("scalar", npy(head.replace("2, 3", ""), bytes(4)), "'x'.*scalar")):
        add(name, content, says)
    fifo = corpus.path("fifo")
    os.mkfifo(fifo)
    for name, path, says in (("fifo", fifo, "fifo': it is a FIFO"),
                             ("device", "/dev/zero", "it is a device"),
                             ("folder", corpus.folder, "it is a folder"),
                             ("missing", "/none.npy", "none.npy': No such file")):
        corpus.add(f"array-{name}", ["run", model, "--input", f"x={path}"], says)
    good_file = corpus.file("x.npy", good)
    corpus.add("array-of-nobody", ["run", model, "--input", f"nobody={good_file}"], "nobody.*x")
    corpus.add("array-twice", ["run", model, "--input", f"x={good_file}", "--input",
                               f"x={good_file}"], "'x'.*twice")
    corpus.add("array-and-shape", ["run", model, "--input", f"x={good_file}", "--shape", "x=4x3"],
               "x.*2x3.*4x3")


# ---- plans -----------------------------------------------------------------------------------

def plans(corpus, sound):
    """`sound`: the text of the plan of linear_model(batch=2)."""
    model = corpus.file("model.onnx", linear_model(batch=2))

    def add(name, content, says="line [0-9]+, column [0-9]+|plan"):
        plan = corpus.file("plan.txt", content.encode())
        corpus.add(f"plan-{name}", ["run", model, "--force-plan", plan], says)

    add("empty", "")
    add("other-text", "this is no plan\n")
    add("other-word", sound.replace("plan", "plane", 1))
    add("unknown-node", sound.replace('"product"', '"nobody"').replace(" product", " nobody"),
        "nobody")
    add("escape", 'plan\n"\x1b[2J"\n')
    add("half", sound[:len(sound) // 2])
    add("twice", sound + sound[5:])
    add("numbers", sound.replace("1", "99999999999999999999"))
    add("braces", "plan\n" + "{" * 10000)
    lines = sound.splitlines(keepends=True)
    for i in range(1, min(len(lines), 14)):
        if not lines[i].strip().startswith(("#", "link")):  # links follow from the rest
            add(f"without-line-{i}", "".join(lines[:i] + lines[i + 1:]))
    fifo = corpus.path("fifo")
    os.mkfifo(fifo)
    for name, path, says in (("fifo", fifo, "it is a FIFO"), ("device", "/dev/zero", "device"),
                             ("missing", "/none.plan", "none.plan': No such file"),
                             ("folder", corpus.folder, "it is a folder")):
        corpus.add(f"plan-{name}", ["run", model, "--force-plan", path], says)


# ---- paths of models and outputs ------------------------------------------------------------

def paths(corpus):
    fifo = corpus.path("fifo")
    os.mkfifo(fifo)
    folder = corpus.path("s").parent
    make_socket(folder)
    link = corpus.path("link.onnx")
    link.symlink_to("nowhere")
    loop = corpus.path("loop.onnx")
    loop.symlink_to("loop.onnx")
    for name, path, says in (
            ("missing", corpus.folder / "none.onnx", "none.onnx': No such file"),
            ("folder", corpus.folder, "it is a folder"), ("fifo", fifo, "it is a FIFO"),
            ("socket", folder / "s", "it is a socket"), ("device", "/dev/zero", "it is a device"),
            ("null", "/dev/null", "it is a device"), ("link", link, "link.onnx': No such file"),
            ("loop", loop, "loop.onnx': Too many levels"),
            ("below-a-file", "/etc/passwd/x.onnx", "Not a directory"),
            ("long-name", "/" + "n" * 5000, "too long"), ("memory", "/proc/self/mem", "")):
        for command in ("run", "inspect"):
            corpus.add(f"file-{command}-{name}", [command, path], says)
    model = corpus.file("model.onnx", linear_model(batch=2))
    target = corpus.file("precious", b"precious")
    link = corpus.path("out")
    link.symlink_to(target)
    full = own_device(corpus.path("full"), 7)
    for name, path, says in (("link", link, "symbolic link; name the file itself"),
                             ("folder", corpus.folder, "it is a folder"), ("fifo", fifo, "nobody"),
                             ("no-folder", "/none/out", "none/out': No such file"),
                             ("full", full, "full': (No space|Permission)"),
                             ("socket", folder / "s", "it is a socket")):
        corpus.add(f"output-compile-{name}", ["compile", model, "-o", path], says)
        corpus.add(f"output-html-{name}", ["explain", model, "--no-measure", "--html", path], says)
        corpus.add(f"output-dot-{name}", ["explain", model, "--no-measure", "--dot", path], says)
    corpus.add("output-folder-is-file", ["run", model, "--output-dir", target], "precious")
    corpus.add("output-folder-is-fifo", ["run", model, "--output-dir", fifo], "fifo")
    taken = corpus.path("out")
    (taken / "y.npy").mkdir(parents=True)
    corpus.add("output-name-is-folder", ["run", model, "--output-dir", taken], "y.npy.*a folder")


# ---- usage -----------------------------------------------------------------------------------

def usage(corpus):
    model = corpus.file("model.onnx", linear_model())
    for name, arguments, says in (
            ("nothing", [], "subcommand"), ("unknown-command", ["jump"], "jump|subcommand"),
            ("no-model", ["run"], "MODEL"), ("unknown-option", ["run", model, "--fast"], "--fast"),
            ("two-models", ["run", model, model], "model.onnx"),
            ("threads-negative", ["run", model, "--threads", "-1"], "threads"),
            ("threads-many", ["run", model, "--threads", "100000"], "threads"),
            ("threads-text", ["run", model, "--threads", "all"], "threads"),
            ("isa", ["run", model, "--isa", "sse9"], "isa"),
            ("plan", ["run", model, "--plan", "fast"], "plan"),
            ("shape-text", ["run", model, "--shape", "x=axb"], "x=axb"),
            ("shape-negative", ["run", model, "--shape", "x=-1x3"], "x=-1x3"),
            ("shape-without-name", ["run", model, "--shape", "2x3"], "2x3"),
            ("shape-empty", ["run", model, "--shape", "x="], "x="),
            ("shape-huge", ["run", model, "--shape", "x=" + "9" * 40], "x=9"),
            ("shape-escape", ["run", model, "--shape", "\x1b[2J"], r"\\x1b\[2J"),
            ("input-without-file", ["run", model, "--input", "x"], "NAME=FILE"),
            ("input-empty-file", ["run", model, "--input", "x="], "NAME=FILE"),
            ("constant-without-value", ["run", model, "--constant", "x"], "NAME=16000"),
            ("stage", ["inspect", model, "--stage", "soup"], "stage"),
            ("compile-without-output", ["compile", model], "output"),
            ("seed", ["run", model, "--seed", "x"], "seed"),
            ("escape", ["run", model, "--\x1b[2J"], r"\\x1b\[2J"),
            ("conformance-without-folder", ["conformance"], "DIR")):
        corpus.add(f"usage-{name}", arguments, says, USAGE)
    for name, arguments, says in (
            ("open-shape", [], "'x'.*--shape"), ("unknown-shape", ["--shape", "z=2"], "'z'.*x"),
            ("wrong-rank", ["--shape", "x=2"], "'x'.*2"),
            ("wrong-extent", ["--shape", "x=2x4"], "'x'.*2x4"),
            ("symbol-of-two", ["--shape", "batch=2x4"], "batch.*one extent"),
            ("contradiction", ["--shape", "x=2x3", "--shape", "batch=4"], "batch"),
            ("beyond-memory", ["--shape", f"batch={1 << 61}"], "x|memory"),
            ("constant-of-nobody", ["--constant", "z=1"], "'z'.*x"),
            ("constant-of-open-shape", ["--constant", "x=1"], "'x'.*shape open")):
        corpus.add(f"usage-{name}", ["run", model, *arguments], says)
    fixed = corpus.file("model.onnx", linear_model(batch=2))
    for number, says in (("1,2", "6 elements, but 2"), ("a", "'a' is no value"),
                         ("1,,2,3,4,5", "'' is no value"), ("1" * 400, "is no value|x")):
        corpus.add(f"usage-constant-{number[:6]}", ["run", fixed, "--constant", f"x={number}"],
                   says)
    corpus.add("usage-conformance-nowhere", ["conformance", "/none"], "/none")
    corpus.add("usage-conformance-empty", ["conformance", corpus.path("x").parent], "no model.onnx")
