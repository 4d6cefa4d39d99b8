"""Bad inputs of every kind for the command: models, weights, compiled files, arrays, plans, usage.

`cases(folder)` makes the files and yields what to run and what the error must say.
"""

import dataclasses
import os
import pathlib
import random

import numpy as np
from onnx import ModelProto, TensorProto, helper

import bad_files
import bad_operators
from corf_command import constant, linear_model, make_model, value

FAILED = 1


@dataclasses.dataclass
class Case:
    name: str
    arguments: list
    # Regular expression that the message matches.
    says: str
    status: int = FAILED


class Corpus:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.cases = []
        self.number = 0

    def path(self, name):
        self.number += 1
        folder = self.folder / f"{self.number:04}"
        folder.mkdir()
        return folder / name

    def file(self, name, content):
        path = self.path(name)
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content)
        return path

    def add(self, name, arguments, says, status=FAILED):
        self.cases.append(Case(name, [str(argument) for argument in arguments], says, status))

    def model(self, name, content, says, arguments=()):
        self.add(name, ["run", self.file("model.onnx", content), *arguments], says)


# ---- protobuf --------------------------------------------------------------------------------

NO_MODEL = "model.onnx': (the model is empty|not an ONNX model)"
ANY_FAULT = "model.onnx'|node '|initializer|input|output|value"


def varint(number):
    out = bytearray()
    while True:
        out.append((number & 0x7f) | (0x80 if number > 0x7f else 0))
        number >>= 7
        if not number:
            return bytes(out)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def damaged_messages(corpus):
    sound = linear_model(batch=2)
    for content, name in ((b"", "empty"), (b"\0" * 1000, "zeros"), (b"\xff" * 1000, "ones"),
                          (b"#!/bin/sh\necho\n" * 20, "script"),
                          (b"PK\x03\x04" + b"\0" * 60, "zip"),
                          (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "png"), (b"\x08\x08", "no-graph"),
                          (b"{\"ir_version\": 8}", "json"), (sound[:1], "one-byte")):
        corpus.model(f"message-{name}", content, NO_MODEL)
    for i in range(1, 24):
        corpus.model(f"message-cut-{i}", sound[:i * len(sound) // 24], NO_MODEL + "|" + ANY_FAULT)
    corpus.model("message-length-beyond-end", b"\x3a\xff\xff\xff\xff\x07" + sound, NO_MODEL)
    corpus.model("message-varint-without-end", b"\x08" + b"\xff" * 20, NO_MODEL)
    corpus.model("message-wrong-wire-type", b"\x3d" + sound, NO_MODEL)
    corpus.model("message-group-without-end", b"\x3b" * 50 + sound, NO_MODEL)
    deep = b""
    for _ in range(2000):  # attribute in node in graph, and again
        deep = field(1, field(5, field(6, deep))) if len(deep) < 1 << 20 else deep
    corpus.model("message-deeply-nested", field(7, deep), NO_MODEL)
    numbers = random.Random(7)
    for i in range(12):
        noise = bytes(numbers.randrange(256) for _ in range(400))
        corpus.model(f"message-noise-{i}", noise, NO_MODEL + "|" + ANY_FAULT)


# ---- structure of the graph ------------------------------------------------------------------

def relu(x="x", y="y", **options):
    return helper.make_node("Relu", [x], [y], **options)


def simple(nodes, inputs=None, outputs=None, constants=(), **options):
    return make_model(nodes, inputs or [value("x", [2])], outputs or [value("y", [2])], constants,
                      **options)


def edited(change, *arguments, **options):
    """A sound model that `change` has edited."""
    model = ModelProto.FromString(simple([relu(name="subject")], *arguments, **options))
    change(model)
    return model.SerializeToString()


def structures(corpus):
    model = corpus.model
    add = lambda a, b, y, name: helper.make_node("Add", [a, b], [y], name=name)
    model("graph-cycle-of-two", simple([add("x", "b", "a", "one"), relu("a", "b", name="two")],
                                       outputs=[value("b", [2])]), "cycl.*(one|two)")
    model("graph-cycle-of-one", simple([add("x", "y", "y", "self")]), "cycl.*self")
    model("graph-undefined-value", simple([add("x", "nowhere", "y", "sum")]), "sum.*nowhere")
    model("graph-output-of-nothing", simple([relu()], outputs=[value("z", [2])]), "'z'")
    model("graph-value-twice", simple([relu(), helper.make_node("Neg", ["x"], ["y"])]), "'y'")
    model("graph-output-is-input-name", simple([relu("x", "x")], outputs=[value("x", [2])]), "'x'")
    model("graph-input-twice", simple([relu()], [value("x", [2]), value("x", [2])]),
          "input 'x' is defined twice")
    model("graph-output-twice", simple([relu()], None, [value("y", [2]), value("y", [2])]),
          "output 'y' is listed twice")
    model("graph-initializer-twice",
          simple([relu()], constants=[constant("w", np.ones(2, np.float32))] * 2), "'w'.*twice")
    model("graph-no-outputs", edited(lambda m: m.graph.ClearField("output")), "no outputs")
    model("graph-empty", edited(lambda m: m.ClearField("graph") or m.graph.SetInParent()),
          "no outputs")
    model("graph-no-nodes", edited(lambda m: m.graph.ClearField("node")), "'y'")
    model("graph-input-without-name", edited(lambda m: m.graph.input[0].ClearField("name")),
          "input has no name")
    model("graph-output-without-name", edited(lambda m: m.graph.output[0].ClearField("name")),
          "output has no name")
    model("graph-input-without-type", edited(lambda m: m.graph.input[0].ClearField("type")),
          "'x' has no type")
    model("graph-input-of-undefined-type",
          edited(lambda m: m.graph.input[0].type.tensor_type.ClearField("elem_type")),
          "'x' has element type undefined")
    for number, says in ((8, "is a tensor of strings"), (14, "has element type complex64"),
                         (17, "is a tensor of elements of 8 bits or less"),
                         (22, "is a tensor of elements of 8 bits or less"),
                         (99, "has element type type 99"), (-1, "has element type type -1")):
        model(f"graph-input-of-type-{number}", edited(
            lambda m, n=number: setattr(m.graph.input[0].type.tensor_type, "elem_type", n)),
            f"'x' {says}")
    for kind, says in (("sequence_type", "a sequence"), ("map_type", "a map"),
                       ("optional_type", "an optional")):
        model(f"graph-input-{kind}", edited(
            lambda m, k=kind: getattr(m.graph.input[0].type, k).SetInParent()),
            f"'x' is {says}")
    model("graph-output-of-other-type",
          simple([relu(name="subject")], outputs=[value("y", [2], TensorProto.INT64)]),
          "subject.*f32.*int64")
    model("graph-node-without-type", edited(lambda m: m.graph.node[0].ClearField("op_type")),
          "subject.*no operator type")
    model("graph-node-without-outputs", edited(lambda m: m.graph.node[0].ClearField("output")),
          "'y'")
    model("graph-too-many-outputs",
          simple([helper.make_node("Relu", ["x"], ["y", "z"], name="subject")],
                 outputs=[value("z", [2])]), "'?z'?|subject")
    model("graph-unknown-operators",
          simple([helper.make_node("Strange", ["x"], ["a"], name="first"),
                  helper.make_node("Odd", ["a"], ["y"], name="second", domain="my.domain")]),
          r"2 nodes are not supported:\n  .*first.*\n  .*second.*my\.domain")
    for opset in (0, -1, 999, 1 << 40):
        model(f"graph-opset-{opset}", simple([relu(name="subject")], opset=opset),
              f"opset.*{opset}|{opset}.*opset")
    model("graph-no-opset", edited(lambda m: m.ClearField("opset_import")), "opset.*subject")
    model("graph-other-opset-only",
          edited(lambda m: setattr(m.opset_import[0], "domain", "other")), "opset.*subject")
    model("graph-large-input", simple([relu(name="subject")], [value("x", [1 << 40, 1 << 40])],
                                      [value("y", [1 << 40, 1 << 40])]), "'x'")
    model("graph-input-beyond-memory", simple([relu(name="subject")], [value("x", [1 << 43])],
                                              [value("y", [1 << 43])]), "x|subject|memory")
    model("graph-name-with-zero-byte",
          edited(lambda m: setattr(m.graph.input[0], "name", "a\0b") or
                 m.graph.node[0].input.__setitem__(0, "a\0b")), r"input 'a\\x00b'.*rename")
    model("graph-function-calls-itself", recursive_function(), "Loop|itself|cycl")
    model("graph-if-without-branch",
          simple([helper.make_node("If", ["c"], ["y"], name="subject")],
                 [value("c", [], TensorProto.BOOL)]), "subject.*then_branch")
    branch = helper.make_graph([], "b", [], [value("x", [2])])
    model("graph-if-on-two-conditions",
          simple([helper.make_node("If", ["c"], ["y"], name="subject", then_branch=branch,
                                   else_branch=branch)],
                 [value("c", [2], TensorProto.BOOL), value("x", [2])]), "subject.*one element")
    empty = helper.make_graph([], "b", [], [])
    model("graph-if-branch-without-outputs",
          simple([helper.make_node("If", ["c"], ["y"], name="subject", then_branch=empty,
                                   else_branch=empty)],
                 [value("c", [], TensorProto.BOOL)]), "subject.*outputs")


def recursive_function():
    def change(model):
        function = model.functions.add()
        function.domain, function.name = "local", "Loop"
        function.input.append("a")
        function.output.append("b")
        function.node.append(helper.make_node("Loop", ["a"], ["b"], domain="local"))
        function.opset_import.append(helper.make_opsetid("local", 1))
        model.opset_import.append(helper.make_opsetid("local", 1))
        model.graph.node[0].op_type, model.graph.node[0].domain = "Loop", "local"
    return edited(change)


# ---- constants and external data -------------------------------------------------------------

def with_constant(tensor):
    return simple([helper.make_node("Add", ["x", "w"], ["y"], name="subject")], constants=[tensor])


def changed_constant(change):
    tensor = constant("w", np.ones(2, np.float32))
    change(tensor)
    return with_constant(tensor)


def constants(corpus):
    def resize(*dims):
        def change(tensor):
            del tensor.dims[:]
            tensor.dims.extend(dims)
        return change

    def unpack(count):
        def change(tensor):
            tensor.ClearField("raw_data")
            tensor.float_data.extend([1.0] * count)
        return change

    for name, change, says in (
            ("too-few-bytes", lambda t: setattr(t, "raw_data", t.raw_data[:-3]), "'w'.*5 bytes"),
            ("too-many-bytes", lambda t: setattr(t, "raw_data", b"\0" * 99), "'w'.*99 bytes"),
            ("no-bytes", lambda t: t.ClearField("raw_data"), "'w'.*0 elements"),
            ("too-few-elements", unpack(1), "'w'.*1 elements"),
            ("too-many-elements", unpack(3), "'w'.*3 elements"),
            ("negative-extent", resize(-2), "'w'"), ("overflow", resize(1 << 40, 1 << 40), "'w'"),
            ("larger-than-it-is", resize(1 << 33), "'w'"),
            ("byte-overflow", resize((1 << 61) + 1), "'w'"),
            ("undefined-type", lambda t: setattr(t, "data_type", 0), "'w'.*undefined"),
            ("string", lambda t: setattr(t, "data_type", 8), "'w'.*string"),
            ("type-1000", lambda t: setattr(t, "data_type", 1000), "'w'.*type 1000"),
            ("int4", lambda t: setattr(t, "data_type", 22), "'w'.*int4"),
            ("wrong-width", lambda t: setattr(t, "data_type", 11), "'w'.*8 bytes")):
        corpus.model(f"constant-{name}", changed_constant(change), says)


def external(location, offset=None, length=None, dims=(2,), keep=None):
    def change(tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.dims[:]
        tensor.dims.extend(dims)
        for key, content in (("location", location), ("offset", offset), ("length", length)):
            if content is not None:
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(content)
    return changed_constant(change)


def external_data(corpus):
    def add(name, says, content, prepare=lambda folder: None):
        model = corpus.file("model.onnx", content)
        prepare(model.parent)
        corpus.add(f"external-{name}", ["run", model], says)

    secret = corpus.file("secret.bin", bytes(64))
    outside = "'w'.*outside of the model's directory.*relative path"
    add("missing", "'w'.*weights.bin.*No such file", external("weights.bin"))
    add("no-location", "'w'.*without a location", external(None))
    add("empty-location", "'w'.*without a location", external(""))
    for name, location in (("parent", f"../{secret.parent.name}/secret.bin"),
                           ("passwd", "../../../../../../etc/passwd"), ("absolute", str(secret)),
                           ("proc", "/proc/self/environ"), ("dots", ".."),
                           ("hidden-parent", f"a/../../{secret.parent.name}/secret.bin"),
                           ("slashes", "//etc/passwd"),
                           ("dot-slash", f"./../{secret.parent.name}/secret.bin")):
        add(f"{name}", outside, external(location))
    add("zero-byte", outside + r"|weights\.bin\\x00", external("weights.bin\0/../x"))
    add("folder", "'w'.*it is a folder", external("sub"), lambda f: (f / "sub").mkdir())
    add("itself", "'w'.*(a folder|outside)", external("."))
    add("fifo", "'w'.*it is a FIFO", external("fifo"), lambda f: os.mkfifo(f / "fifo"))
    add("link-to-fifo", "'w'.*it is a FIFO", external("link"),
        lambda f: (os.mkfifo(f / "fifo"), (f / "link").symlink_to("fifo")))
    add("link-to-device", outside, external("link"), lambda f: (f / "link").symlink_to("/dev/zero"))
    add("link-outside", outside, external("link"), lambda f: (f / "link").symlink_to(secret))
    add("link-of-folder", outside, external("d/secret.bin"),
        lambda f: (f / "d").symlink_to(secret.parent))
    add("link-to-itself", "'w'.*(link|outside)", external("l"), lambda f: (f / "l").symlink_to("l"))
    add("hard-link", "'w'.*2 hard links.*put a copy", external("hard"),
        lambda f: os.link(secret, f / "hard"))
    add("socket", "'w'.*it is a socket", external("s"), bad_files.make_socket)
    weights = lambda size: lambda folder: (folder / "weights.bin").write_bytes(bytes(size))
    for name, options, says in (
            ("offset-beyond", dict(offset=64), "bytes 64 to 72 of 'weights.bin'.*only 16"),
            ("offset-crossing", dict(offset=12), "bytes 12 to 20 of 'weights.bin'"),
            ("offset-overflow", dict(offset=(1 << 64) - 1), "weights.bin"),
            ("offset-negative", dict(offset=-8), "offset '-8', not a number"),
            ("offset-huge", dict(offset=10 ** 30), "offset '10+', not a number"),
            ("offset-text", dict(offset="eight"), "offset 'eight', not a number"),
            ("offset-empty", dict(offset=""), "offset '', not a number"),
            ("length-short", dict(length=4), "external data of 4 bytes for shape 2"),
            ("length-long", dict(length=16), "external data of 16 bytes for shape 2"),
            ("length-text", dict(length="8 bytes"), "length '8 bytes', not a number"),
            ("shape-large", dict(dims=(1 << 40,)), "'w'.*only 16 bytes"),
            ("shape-overflow", dict(dims=(1 << 40, 1 << 40)), "'w'")):
        add(name, f"'w'.*{says}|{says}", external("weights.bin", **options), weights(16))
    add("empty-file", "'w'.*only 0 bytes", external("weights.bin"), weights(0))
    escape = "\x1b[2Jx"
    add("escape", r"'w'.*\\x1b\[2Jx", external(escape))
    add("long-name", "'w'.*(too long|outside)", external("n" * 5000))


# ---- names -----------------------------------------------------------------------------------

HOSTILE_NAMES = {
    "title": ("\x1b]0;pwned\x07", r"\\x1b\]0;pwned\\x07"), "clear": ("\x1b[2J", r"\\x1b\[2J"),
    "line": ("a\ncorf: error: b", r"a\\ncorf: error: b"), "return": ("a\rb", r"a\\rb"),
    "list": ("a\n  b", "a"), "backspace": ("a\b\b", r"a\\x08"), "delete": ("a\x7f", r"a\\x7f"),
    "c1": ("\u009b31m", r"\\u009b31m"), "bidi": ("\u202etxt", r"\\u202etxt"),
    "isolate": ("\u2066x", r"\\u2066x"), "bom": ("\ufeffx", r"\\ufeffx"),
    "separator": ("a\u2028b", r"a\\u2028b"), "tag": ("\U000e0041x", r"\\ue0041x"),
    "long": ("n" * 200000, "bytes left out"), "quote": ("a'b", "a'b"), "format": ("{0}%s%n", "%n"),
    "zero": ("a\0b", r"a\\x00b"),
}


def names(corpus):
    for key, (name, says) in HOSTILE_NAMES.items():
        corpus.model(f"name-node-{key}",
                     simple([helper.make_node("NoSuch", ["x"], ["y"], name=name)]), says)
        corpus.model(f"name-value-{key}",
                     simple([helper.make_node("Add", ["x", name], ["y"], name="subject")]), says)
    for key in ("title", "line", "bidi"):
        name, says = HOSTILE_NAMES[key]
        corpus.model(f"name-operator-{key}",
                     simple([helper.make_node(name, ["x"], ["y"], name="subject")]), says)
        corpus.model(f"name-domain-{key}",
                     simple([helper.make_node("A", ["x"], ["y"], name="s", domain=name)]), says)
        corpus.model(f"name-input-{key}", simple([relu(name)], [value(name, [2, "n"])]), says)
        corpus.model(f"name-symbol-{key}", simple([relu()], [value("x", [name])]), says)
        corpus.add(f"name-file-{key}", ["run", corpus.folder / name], says)
    corpus.model("name-not-utf8", not_utf8(), r"\\xff\\xfe")


def not_utf8():
    return simple([helper.make_node("NoSuch", ["x"], ["y"], name="AAAA")]).replace(
        b"AAAA", b"\xff\xfe\xfd\xfc")


# ---- operators -------------------------------------------------------------------------------

def model_of(operator, parts):
    node, inputs, tensors = parts
    return make_model(
        [node], [value(name, shape, dtype) for name, (dtype, shape) in inputs],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
        [constant(name, array) for name, array in tensors],
        opset=bad_operators.opset_of(operator))


def operators(corpus):
    for name, operator, parts, says in bad_operators.bad_nodes():
        corpus.model(f"node-{name}", model_of(operator, parts),
                     f"('subject'|'in[0-9]'|'out0')[^\\n]*({says})" if says else
                     "'subject'|'in[0-9]'|'out0'")


def sound_operators():
    """(operator, model): what the faulty nodes are derived from, which must run."""
    for operator, parts in bad_operators.sound_nodes():
        yield operator, model_of(operator, parts)


def cases(folder, compiled, plan):
    corpus = Corpus(folder)
    for kind in (damaged_messages, structures, constants, external_data, names, operators,
                 bad_files.arrays, bad_files.paths, bad_files.usage):
        kind(corpus)
    bad_files.compiled_files(corpus, compiled)
    bad_files.plans(corpus, plan)
    return corpus.cases
