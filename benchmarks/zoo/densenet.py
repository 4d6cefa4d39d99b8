"""DenseNet-121 (arXiv 1608.06993): every layer reads all feature maps before it in its block."""

from zoo.builder import Builder

GROWTH = 32


def densenet121():
    b = Builder("densenet121")
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 64, 7, "features.stem", stride=2)
    x = b.pool(x, "Max", 3, 2, "features.pool0", padding=1)
    for block, layers in enumerate([6, 12, 24, 16], start=1):
        features = [x]
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            joined = b.concat(features, name) if len(features) > 1 else features[0]
            new = _norm_relu_conv(b, joined, 4 * GROWTH, 1, f"{name}.1")
            features.append(_norm_relu_conv(b, new, GROWTH, 3, f"{name}.2"))
        x = b.concat(features, f"features.denseblock{block}")
        if block < 4:
            name = f"features.transition{block}"
            x = _norm_relu_conv(b, x, b.channels[x] // 2, 1, name)
            x = b.pool(x, "Average", 2, 2, f"{name}.pool")
    x = b.activation(b.batch_norm(x, "features.norm5"), "relu", "features.relu5")
    b.add_output(b.classifier(x, 1000, "classifier"), "output", [1, 1000])
    return b.model()


def _norm_relu_conv(b, x, channels, kernel, name):
    x = b.activation(b.batch_norm(x, f"{name}.norm"), "relu", f"{name}.relu")
    return b.conv(x, channels, kernel, f"{name}.conv")
