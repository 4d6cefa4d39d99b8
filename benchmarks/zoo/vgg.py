"""VGG-16 (arXiv 1409.1556, configuration D, without batch-norm)."""

from zoo.builder import Builder


def vgg16():
    b = Builder("vgg16")
    x = b.add_input("input", [1, 3, 224, 224])
    index = 0
    for stage, (channels, repeats) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        for _ in range(repeats):
            x = b.conv(x, channels, 3, f"features.{index}", bias=True)
            x = b.activation(x, "relu", f"features.{index + 1}")
            index += 2
        x = b.pool(x, "Max", 2, 2, f"features.{index}")
        index += 1
    # Adaptive average pooling to 7x7 of a 7x7 input is exported as a pool of one element.
    x = b.pool(x, "Average", 1, 1, "avgpool")
    channels = b.channels[x]
    x = b.op("Flatten", [x], "/Flatten", axis=1)
    b.channels[x] = channels * 7 * 7
    for layer in (0, 3):
        x = b.fully_connected(x, 4096, f"classifier.{layer}")
        x = b.activation(x, "relu", f"classifier.{layer + 1}")
    b.add_output(b.fully_connected(x, 1000, "classifier.6"), "output", [1, 1000])
    return b.model()
