"""ShuffleNetV2 1.0 (arXiv 1807.11164)."""

from zoo.builder import Builder


def shufflenet_v2_1_0():
    b = Builder("shufflenet_v2_1_0")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 24, 3, "conv1", stride=2)
    x = b.pool(x, "Max", 3, 2, "maxpool", padding=1)
    # (output channels, blocks) of stages 2 to 4, table 5 of the paper.
    for stage, (channels, repeats) in enumerate([(116, 4), (232, 8), (464, 4)], start=2):
        for i in range(repeats):
            x = _block(b, x, channels, i == 0, f"stage{stage}.{i}")
    x = b.conv_bn(x, 1024, 1, "conv5")
    x = b.op("ReduceMean", [x], "/ReduceMean", axes=[2, 3], keepdims=0)
    b.add_output(b.fully_connected(x, 1000, "fc"), "output", [1, 1000])
    return b.model()


def _block(b, x, channels, downsample, name):
    half = channels // 2
    if downsample:
        kept = b.conv_bn(x, b.channels[x], 3, f"{name}.branch1.depthwise", 2, b.channels[x],
                         "linear")
        kept = b.conv_bn(kept, half, 1, f"{name}.branch1.pointwise")
    else:
        sizes = b.constant(f"/{name}/Constant", [half, half], "int64")
        kept, x = b.op("Split", [x, sizes], f"/{name}/Split", num_outputs=2, axis=1)
        b.channels[kept] = b.channels[x] = half
    x = b.conv_bn(x, half, 1, f"{name}.branch2.reduce")
    x = b.conv_bn(x, half, 3, f"{name}.branch2.depthwise", 2 if downsample else 1, half, "linear")
    x = b.conv_bn(x, half, 1, f"{name}.branch2.expand")
    size = {116: 28, 232: 14, 464: 7}[channels]
    joined = b.concat([kept, x], name)
    grouped = b.reshape(joined, [1, 2, half, size, size], f"{name}/shuffle.split")
    swapped = b.transpose(grouped, [0, 2, 1, 3, 4], f"{name}/shuffle")
    return b.reshape(swapped, [1, channels, size, size], f"{name}/shuffle.merge")
