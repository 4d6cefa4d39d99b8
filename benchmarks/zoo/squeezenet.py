"""SqueezeNet 1.1 (arXiv 1602.07360 and its official 1.1 revision)."""

from zoo.builder import Builder


def squeezenet1_1():
    b = Builder("squeezenet1_1")
    x = b.add_input("input", [1, 3, 224, 224])
    x = _conv_relu(b, x, 64, 3, "features.0", stride=2)
    index = 1
    # Squeeze channels of each fire module; its expand branches have 4 times as many. 0: max pool.
    for squeeze in [0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64]:
        name = f"features.{index}"
        x = (_fire(b, x, squeeze, name) if squeeze
             else b.pool(x, "Max", 3, 2, name, ceil_mode=1))
        index += 1
    x = _conv_relu(b, x, 1000, 1, "classifier.1")
    x = b.op("GlobalAveragePool", [x], "/classifier.3/GlobalAveragePool")
    b.add_output(b.op("Flatten", [x], "/Flatten", axis=1), "output", [1, 1000])
    return b.model()


def _fire(b, x, squeeze, name):
    x = _conv_relu(b, x, squeeze, 1, f"{name}.squeeze")
    return b.concat([_conv_relu(b, x, squeeze * 4, 1, f"{name}.expand1x1"),
                     _conv_relu(b, x, squeeze * 4, 3, f"{name}.expand3x3")], name)


def _conv_relu(b, x, channels, kernel, name, stride=1):
    padding = 0 if name == "features.0" else None
    x = b.conv(x, channels, kernel, name, stride, bias=True, padding=padding)
    return b.activation(x, "relu", f"{name}_activation")
