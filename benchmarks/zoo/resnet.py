"""ResNet-18 and ResNet-50 (arXiv 1512.03385), stride in the 3x3 convolution of a bottleneck."""

from zoo.builder import Builder


def resnet18():
    return _resnet("resnet18", _basic_block, [2, 2, 2, 2], expansion=1)


def resnet50():
    return _resnet("resnet50", _bottleneck, [3, 4, 6, 3], expansion=4)


def _resnet(model_name, block, repeats, expansion):
    b = Builder(model_name)
    x = b.conv_bn(b.add_input("input", [1, 3, 224, 224]), 64, 7, "stem", stride=2)
    x = b.pool(x, "Max", 3, 2, "maxpool", padding=1)
    for stage, count in enumerate(repeats):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            name = f"layer{stage + 1}.{i}"
            branch = block(b, x, 64 << stage, stride, name)
            if i == 0 and (stride != 1 or b.channels[x] != (64 << stage) * expansion):
                x = b.conv_bn(x, (64 << stage) * expansion, 1, f"{name}.downsample", stride,
                              activation="linear")
            x = b.activation(b.add(branch, x, name), "relu", f"{name}.relu")
    b.add_output(b.classifier(x, 1000, "fc"), "output", [1, 1000])
    return b.model()


def _basic_block(b, x, width, stride, name):
    x = b.conv_bn(x, width, 3, f"{name}.conv1", stride)
    return b.conv_bn(x, width, 3, f"{name}.conv2", activation="linear", scale=0.25)


def _bottleneck(b, x, width, stride, name):
    x = b.conv_bn(x, width, 1, f"{name}.conv1")
    x = b.conv_bn(x, width, 3, f"{name}.conv2", stride)
    return b.conv_bn(x, width * 4, 1, f"{name}.conv3", activation="linear", scale=0.25)
