"""BERT-base (arXiv 1810.04805) and ViT-Tiny/16 (2010.11929, widths of 2012.12877)."""

import numpy as np
from onnx import TensorProto

from zoo.builder import Builder


def bert_base():
    """The encoder and its pooler: 12 layers of width 768, 12 heads, sequence length 128.

    LayerNorm is decomposed here and a LayerNormalization node in ViT; both are exported.
    """
    b = Builder("bert_base")
    length, width, heads = 128, 768, 12
    ids, mask, types = (b.add_input(name, [1, length], TensorProto.INT64)
                        for name in ("input_ids", "attention_mask", "token_type_ids"))
    bias = _mask_bias(b, mask)
    words = _embedding(b, ids, 30522, width, "embeddings.word_embeddings")
    token_types = _embedding(b, types, 2, width, "embeddings.token_type_embeddings")
    positions = b.initializer("embeddings.position_ids", np.arange(length)[None])
    positions = _embedding(b, positions, 512, width, "embeddings.position_embeddings")
    x = b.op("Add", [words, token_types], "/embeddings/Add")
    x = b.op("Add", [x, positions], "/embeddings/Add_1")
    x = b.layer_norm(x, width, "embeddings/LayerNorm", 1e-12, decomposed=True)
    for layer in range(12):
        name = f"encoder/layer.{layer}"
        y = _bert_attention(b, x, bias, length, width, heads, f"{name}/attention")
        x = b.op("Add", [y, x], f"/{name}/attention/output/Add")
        x = b.layer_norm(x, width, f"{name}/attention/output/LayerNorm", 1e-12, decomposed=True)
        y = _mlp(b, x, width, f"{name}/intermediate/dense", f"{name}/intermediate/act_fn",
                 f"{name}/output/dense")
        x = b.op("Add", [y, x], f"/{name}/output/Add")
        x = b.layer_norm(x, width, f"{name}/output/LayerNorm", 1e-12, decomposed=True)
    first = _token(b, x, width, "pooler")
    pooled = b.activation(b.fully_connected(first, width, "pooler/dense"), "tanh",
                          "pooler/activation")
    b.add_output(x, "last_hidden_state", [1, length, width])
    b.add_output(pooled, "pooler_output", [1, width])
    return b.model()


def vit_tiny():
    b = Builder("vit_tiny_patch16_224")
    width, heads, patches = 192, 3, 14 * 14
    x = b.add_input("input", [1, 3, 224, 224])
    x = b.conv(x, width, 16, "patch_embed/proj", stride=16, bias=True)
    x = b.reshape(x, [1, width, patches], "patch_embed")
    x = b.transpose(x, [0, 2, 1], "patch_embed")
    x = b.op("Concat", [b.normal("cls_token", (1, 1, width)), x], "/Concat", axis=1)
    x = b.op("Add", [x, b.normal("pos_embed", (1, patches + 1, width), 0.3)], "/Add")
    for layer in range(12):
        name = f"blocks.{layer}"
        y = b.layer_norm(x, width, f"{name}/norm1", 1e-6, decomposed=False)
        y = _vit_attention(b, y, patches + 1, width, heads, f"{name}/attn")
        x = b.op("Add", [x, y], f"/{name}/Add")
        y = b.layer_norm(x, width, f"{name}/norm2", 1e-6, decomposed=False)
        y = _mlp(b, y, width, f"{name}/mlp/fc1", f"{name}/mlp/act", f"{name}/mlp/fc2")
        x = b.op("Add", [x, y], f"/{name}/Add_1")
    x = _token(b, b.layer_norm(x, width, "norm", 1e-6, decomposed=False), width, "head")
    b.add_output(b.fully_connected(x, 1000, "head"), "output", [1, 1000])
    return b.model()


def _embedding(b, indices, count, width, name):
    return b.op("Gather", [b.normal(f"{name}.weight", (count, width)), indices],
                f"/{name}/Gather", axis=0)


def _mask_bias(b, mask):
    """0 where the mask is 1 and the lowest float where it is 0, shaped [1, 1, 1, length]."""
    for i, axis in enumerate((1, 2)):
        axes = b.constant(f"/mask/Constant_{i}", [axis], np.int64)
        mask = b.op("Unsqueeze", [mask, axes], f"/mask/Unsqueeze_{i}")
    mask = b.op("Cast", [mask], "/mask/Cast", to=TensorProto.FLOAT)
    absent = b.op("Sub", [b.constant("/mask/Constant_2", 1.0), mask], "/mask/Sub")
    lowest = b.constant("/mask/Constant_3", np.finfo(np.float32).min)
    return b.op("Mul", [absent, lowest], "/mask/Mul")


def _bert_attention(b, x, bias, length, width, heads, name):
    """softmax(q k^T / sqrt(head width) + bias) v with one projection each for q, k and v."""
    head = width // heads
    split = {}
    for which, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        part = b.linear(x, width, width, f"{name}/self/{which}")
        part = b.reshape(part, [1, length, heads, head], f"{name}/self/{which}")
        split[which] = b.transpose(part, order, f"{name}/self/{which}")
    scores = b.op("MatMul", [split["query"], split["key"]], f"/{name}/self/MatMul")
    root = b.constant(f"/{name}/self/Constant", np.sqrt(head))
    scores = b.op("Div", [scores, root], f"/{name}/self/Div")
    scores = b.op("Add", [scores, bias], f"/{name}/self/Add")
    return _attend(b, scores, split["value"], length, width, f"{name}/self",
                   f"{name}/output/dense")


def _vit_attention(b, x, length, width, heads, name):
    """One projection for q, k and v together; q is scaled before the product."""
    head = width // heads
    x = b.linear(x, width, 3 * width, f"{name}/qkv")
    x = b.reshape(x, [1, length, 3, heads, head], name)
    x = b.transpose(x, [2, 0, 3, 1, 4], name)
    query, key, value = (
        b.op("Gather", [x, b.constant(f"/{name}/Constant_{i + 1}", i, np.int64)],
             f"/{name}/Gather_{i}", axis=0) for i in range(3))
    scale = b.constant(f"/{name}/Constant_4", head ** -0.5)
    query = b.op("Mul", [query, scale], f"/{name}/Mul")
    key = b.transpose(key, [0, 1, 3, 2], f"{name}/key")
    scores = b.op("MatMul", [query, key], f"/{name}/MatMul")
    return _attend(b, scores, value, length, width, name, f"{name}/proj")


def _attend(b, scores, value, length, width, name, projection):
    weights = b.op("Softmax", [scores], f"/{name}/Softmax", axis=-1)
    context = b.op("MatMul", [weights, value], f"/{name}/MatMul_1")
    context = b.transpose(context, [0, 2, 1, 3], f"{name}/context")
    context = b.reshape(context, [1, length, width], f"{name}/context")
    return b.linear(context, width, width, projection)


def _mlp(b, x, width, expand, activation, project):
    x = b.activation(b.linear(x, width, 4 * width, expand), "gelu", activation)
    return b.linear(x, 4 * width, width, project, gain=0.5)


def _token(b, x, width, name):
    """The first token of x [1, length, width], as a matrix [1, width]."""
    index = b.constant(f"/{name}/Constant", 0, np.int64)
    first = b.op("Gather", [x, index], f"/{name}/Gather", axis=1)
    b.channels[first] = width
    return first
