#pragma once
#include <span>
#include <string_view>

namespace corf::fuzz {

/// An ONNX operator as a random model uses it. Inputs and attributes are words; a "?" behind an
/// input says that it may be missing, a "*" that it comes several times.
///
/// Inputs: x of the node's own type; s the same type, of a shape that broadcasts; e the same type
/// and shape; c as many as channels; l as many as the last extent; w, W weights of a convolution,
/// a transposed one; m a factor of a matrix product; 0 one element; f one float; n one integer;
/// b truth values; I indices; i a list of axes; h a shape; p paddings; r counts, one for each
/// dimension; F scales, one for each dimension; q, z small integers and one of them; g a recurrent
/// cell's weights; R, B regions of images and the image of each; v a pair.
///
/// Attributes as name:kind. Kinds: a an axis; A axes; b 0 or 1; k a window's extents; t strides or
/// dilations; g groups; P paddings; f a float; F floats; i an integer; y an element type; T a
/// tensor; a list of words that "|" separates.
struct ModelOperator {
  std::string_view name;
  std::string_view inputs;
  std::string_view attributes;
  int outputs = 1;
};

std::span<const ModelOperator> model_operators();

}  // namespace corf::fuzz
