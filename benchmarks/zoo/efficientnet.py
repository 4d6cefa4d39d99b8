"""EfficientNet-B0 (arXiv 1905.11946), with symmetric padding as PyTorch ports have it."""

from zoo.builder import Builder


def efficientnet_b0():
    b = Builder("efficientnet_b0")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 32, 3, "features.0", stride=2,
                  activation="silu")
    # (expansion, kernel, stride of the first, output channels, repeats), table 1 of the paper.
    stages = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
              (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]
    for i, (expansion, kernel, stride, channels, repeats) in enumerate(stages, start=1):
        for repeat in range(repeats):
            x = _mbconv(b, x, expansion, kernel, stride if repeat == 0 else 1, channels,
                        f"features.{i}.{repeat}")
    x = b.conv_bn(x, 1280, 1, "features.8", activation="silu")
    b.add_output(b.classifier(x, 1000, "classifier.1"), "output", [1, 1000])
    return b.model()


def _mbconv(b, x, expansion, kernel, stride, channels, name):
    residual = x if stride == 1 and b.channels[x] == channels else None
    squeezed = max(1, b.channels[x] // 4)
    hidden = b.channels[x] * expansion
    if expansion != 1:
        x = b.conv_bn(x, hidden, 1, f"{name}.expand", activation="silu")
    x = b.conv_bn(x, hidden, kernel, f"{name}.depthwise", stride, hidden, "silu")
    x = b.squeeze_excite(x, squeezed, f"{name}.se", "silu", "Sigmoid")
    x = b.conv_bn(x, channels, 1, f"{name}.project", activation="linear",
                  scale=0.5 if residual else 1.0, gain=1.5)
    return b.add(residual, x, name) if residual else x
