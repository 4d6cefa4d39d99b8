"""MobileNet V1 (arXiv 1704.04861), V2 (1801.04381) and V3-Large (1905.02244)."""

from zoo.builder import Builder


def mobilenet_v1():
    b = Builder("mobilenet_v1")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 32, 3, "features.0", stride=2)
    # (output channels, stride) of each depthwise-separable block.
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    blocks += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for i, (channels, stride) in enumerate(blocks, start=1):
        name = f"features.{i}"
        x = b.conv_bn(x, b.channels[x], 3, f"{name}.depthwise", stride, groups=b.channels[x])
        x = b.conv_bn(x, channels, 1, f"{name}.pointwise")
    b.add_output(b.classifier(x, 1000, "classifier"), "output", [1, 1000])
    return b.model()


def mobilenet_v2():
    b = Builder("mobilenet_v2")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 32, 3, "features.0", stride=2,
                  activation="relu6")
    index = 1
    # (expansion, output channels, repeats, stride of the first), table 2 of the paper.
    for expansion, channels, repeats, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2),
                                                 (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                                                 (6, 320, 1, 1)]:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            x = _v2_block(b, x, expansion, channels, step, f"features.{index}")
            index += 1
    x = b.conv_bn(x, 1280, 1, f"features.{index}", activation="relu6")
    b.add_output(b.classifier(x, 1000, "classifier.1"), "output", [1, 1000])
    return b.model()


def _v2_block(b, x, expansion, channels, stride, name):
    residual = x if stride == 1 and b.channels[x] == channels else None
    hidden = b.channels[x] * expansion
    if expansion != 1:
        x = b.conv_bn(x, hidden, 1, f"{name}.conv.expand", activation="relu6")
    x = b.conv_bn(x, hidden, 3, f"{name}.conv.depthwise", stride, hidden, activation="relu6")
    x = b.conv_bn(x, channels, 1, f"{name}.conv.project", activation="linear",
                  scale=0.5 if residual else 1.0)
    return b.add(residual, x, name) if residual else x


def mobilenet_v3_large():
    b = Builder("mobilenet_v3_large")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 16, 3, "features.0", stride=2,
                  activation="hardswish")
    # (kernel, hidden channels, output channels, squeeze-excite, activation, stride), table 1.
    blocks = [(3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2),
              (3, 72, 24, False, "relu", 1), (5, 72, 40, True, "relu", 2),
              (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
              (3, 240, 80, False, "hardswish", 2), (3, 200, 80, False, "hardswish", 1),
              (3, 184, 80, False, "hardswish", 1), (3, 184, 80, False, "hardswish", 1),
              (3, 480, 112, True, "hardswish", 1), (3, 672, 112, True, "hardswish", 1),
              (5, 672, 160, True, "hardswish", 2), (5, 960, 160, True, "hardswish", 1),
              (5, 960, 160, True, "hardswish", 1)]
    for i, block in enumerate(blocks, start=1):
        x = _v3_block(b, x, *block, name=f"features.{i}")
    x = b.conv_bn(x, 960, 1, "features.16", activation="hardswish")
    x = b.activation(b.classifier(x, 1280, "classifier.0"), "hardswish", "classifier.1")
    b.add_output(b.fully_connected(x, 1000, "classifier.3"), "output", [1, 1000])
    return b.model()


def _v3_block(b, x, kernel, hidden, channels, squeeze_excite, activation, stride, name):
    residual = x if stride == 1 and b.channels[x] == channels else None
    if hidden != b.channels[x]:
        x = b.conv_bn(x, hidden, 1, f"{name}.block.expand", activation=activation)
    x = b.conv_bn(x, hidden, kernel, f"{name}.block.depthwise", stride, hidden, activation)
    if squeeze_excite:
        # Squeezed to a quarter, rounded to a multiple of 8 and never down by more than 10 %.
        squeezed = max(8, (hidden // 4 + 4) // 8 * 8)
        squeezed += 8 if squeezed < 0.9 * (hidden // 4) else 0
        x = b.squeeze_excite(x, squeezed, f"{name}.block.se", "relu", "HardSigmoid")
    x = b.conv_bn(x, channels, 1, f"{name}.block.project", activation="linear",
                  scale=0.5 if residual else 1.0, gain=1.25 if squeeze_excite else 1.0)
    return b.add(residual, x, name) if residual else x
