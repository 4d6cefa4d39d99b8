// Operators whose results are as large as their inputs' values make them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/routines.h"

namespace corf::host {
namespace {

std::vector<int64_t> positions_of_nonzeros(const Tensor& x) {
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < x.num_elems(); ++i) {
    const bool is_set = is_float(x.dtype()) ? x.at_f64(i) != 0 : x.at_i64(i) != 0;
    if (is_set) positions.push_back(i);
  }
  return positions;
}

/// Coordinates of the elements that differ from zero, a column for each.
Result<Values> run_non_zero(const Call& call) {
  CORF_ASSIGN(const Tensor x, call.tensor(0));
  const std::vector<int64_t> positions = positions_of_nonzeros(x);
  const auto rank = static_cast<int64_t>(x.shape().size());
  const auto count = static_cast<int64_t>(positions.size());
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  Tensor result(DType::kI64, {rank, count});
  auto* to = result.data<int64_t>();
  for (int64_t d = 0; d < rank; ++d) {
    for (const int64_t position : positions) *to++ = position / strides[d] % x.shape()[d];
  }
  return Values{result};
}

/// Tensors and strings.
Result<Value> elements(const Call& call, size_t i) {
  if (call.input(i).tensor() != nullptr || call.input(i).strings() != nullptr) {
    return call.input(i);
  }
  return call.invalid("its input {} is {}", i, call.input(i).described());
}

Value flat(const Value& value) { return reshaped(value, {num_elems(shape_of(value))}); }

/// The slices of an axis, or elements, that a condition selects.
Result<Values> run_compress(const Call& call) {
  CORF_ASSIGN(Value x, elements(call, 0));
  CORF_ASSIGN(const Tensor condition, call.tensor(1));
  const std::vector<int64_t> selected = positions_of_nonzeros(condition);
  int axis = 0;
  if (call.has_attribute("axis")) {
    CORF_ASSIGN(axis, call.axis(call.int_attribute("axis", 0), shape_of(x).size()));
  } else {
    x = flat(x);
  }
  if (!selected.empty() && selected.back() >= shape_of(x)[axis]) {
    return call.bad_value("its condition selects element {} of {}", selected.back(),
                          shape_of(x)[axis]);
  }
  return Values{rows(x, axis, selected)};
}

/// Compares slices of an axis, element after element; NaNs are equal and come last.
class Slices {
 public:
  Slices(const Value& value, int axis) : value_(value) {
    const Shape& shape = shape_of(value);
    extent_ = shape[axis];
    inner_ = num_elems({shape.begin() + axis + 1, shape.end()});
    outer_ = num_elems({shape.begin(), shape.begin() + axis});
  }
  int64_t count() const { return extent_; }
  int compare(int64_t a, int64_t b) const {
    for (int64_t o = 0; o < outer_; ++o) {
      for (int64_t i = 0; i < inner_; ++i) {
        const int order = compare_elements(at(o, a) + i, at(o, b) + i);
        if (order != 0) return order;
      }
    }
    return 0;
  }

 private:
  int64_t at(int64_t outer, int64_t slice) const { return (outer * extent_ + slice) * inner_; }
  template <typename T>
  static int order_of(const T& a, const T& b) {
    return a < b ? -1 : b < a ? 1 : 0;
  }
  int compare_elements(int64_t a, int64_t b) const {
    if (const Strings* strings = value_.strings()) {
      return order_of(strings->elems[a], strings->elems[b]);
    }
    const Tensor& tensor = *value_.tensor();
    if (tensor.dtype() == DType::kU64) {
      return order_of(static_cast<uint64_t>(tensor.at_i64(a)),
                      static_cast<uint64_t>(tensor.at_i64(b)));
    }
    if (!is_float(tensor.dtype())) return order_of(tensor.at_i64(a), tensor.at_i64(b));
    const double x = tensor.at_f64(a), y = tensor.at_f64(b);
    if (std::isnan(x) || std::isnan(y)) return order_of(std::isnan(x), std::isnan(y));
    return order_of(x, y);
  }

  const Value& value_;
  int64_t extent_ = 0, outer_ = 1, inner_ = 1;
};

/// The distinct slices of an axis, or elements: themselves, where each occurs first, which of them
/// stands at each place, and how often each occurs.
Result<Values> run_unique(const Call& call) {
  CORF_ASSIGN(Value x, elements(call, 0));
  int axis = 0;
  if (call.has_attribute("axis")) {
    CORF_ASSIGN(axis, call.axis(call.int_attribute("axis", 0), shape_of(x).size()));
  } else {
    x = flat(x);
  }
  const Slices slices(x, axis);
  std::vector<int64_t> order(slices.count());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return slices.compare(a, b) < 0; });
  std::vector<int64_t> first, counts, which(slices.count());
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || slices.compare(order[i - 1], order[i]) != 0) {
      first.push_back(order[i]);
      counts.push_back(0);
    }
    ++counts.back();
    which[order[i]] = static_cast<int64_t>(first.size()) - 1;
  }
  if (call.int_attribute("sorted", 1) == 0) {
    std::vector<int64_t> by_place(first.size()), place(first.size());
    std::iota(by_place.begin(), by_place.end(), 0);
    std::sort(by_place.begin(), by_place.end(),
              [&](int64_t a, int64_t b) { return first[a] < first[b]; });
    std::vector<int64_t> first_then, counts_then;
    for (size_t i = 0; i < by_place.size(); ++i) {
      place[by_place[i]] = static_cast<int64_t>(i);
      first_then.push_back(first[by_place[i]]);
      counts_then.push_back(counts[by_place[i]]);
    }
    for (int64_t& entry : which) entry = place[entry];
    first = std::move(first_then);
    counts = std::move(counts_then);
  }
  const Shape count = {static_cast<int64_t>(first.size())};
  return Values{rows(x, axis, first), integers(count, first), integers({slices.count()}, which),
                integers(count, counts)};
}

/// An axis-parallel box.
struct Box {
  double y1 = 0, x1 = 0, y2 = 0, x2 = 0;
  double area() const { return (y2 - y1) * (x2 - x1); }
};

Box read_box(const Tensor& boxes, int64_t number, bool is_centred) {
  double v[4];
  for (int i = 0; i < 4; ++i) v[i] = boxes.at_f64(4 * number + i);
  if (is_centred) {  // x, y, width, height
    return {v[1] - v[3] / 2, v[0] - v[2] / 2, v[1] + v[3] / 2, v[0] + v[2] / 2};
  }
  return {std::min(v[0], v[2]), std::min(v[1], v[3]), std::max(v[0], v[2]), std::max(v[1], v[3])};
}

bool overlap_by_more(const Box& a, const Box& b, double threshold) {
  // Most lie apart: one branch for all four sides.
  if ((a.y1 >= b.y2) | (b.y1 >= a.y2) | (a.x1 >= b.x2) | (b.x1 >= a.x2)) return false;
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  const double width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (!(height > 0) || !(width > 0) || !(a.area() > 0) || !(b.area() > 0)) return false;
  const double both = height * width;
  return both / (a.area() + b.area() - both) > threshold;
}

struct Suppression {
  int64_t most = 0;
  double iou_threshold = 0;
  std::optional<double> score_threshold;
};

Result<std::optional<double>> one_number(const Call& call, size_t i) {
  if (!call.has(i)) return std::optional<double>();
  CORF_ASSIGN(const Tensor held, call.tensor(i));
  if (held.num_elems() == 0) return std::optional<double>();
  if (held.num_elems() != 1) return call.bad_value("its input {} is not one number", i);
  return std::optional<double>(held.at_f64(0));
}

struct Candidate {
  double score = 0;
  int64_t box = 0;
};

/// The boxes of one class whose scores count, scores from element `offset` on.
std::vector<Candidate> candidates_of(const Tensor& scores, int64_t offset, int64_t count,
                                     const Suppression& suppression) {
  std::vector<Candidate> candidates;
  const auto look_at = [&](int64_t box, double score) {
    const bool counts =
        suppression.score_threshold ? score > *suppression.score_threshold : !std::isnan(score);
    if (counts) candidates.push_back({score, box});
  };
  if (scores.dtype() == DType::kF32) {  // by far the most frequent, and most of the work
    const float* elems = scores.data<float>() + offset;
    for (int64_t box = 0; box < count; ++box) look_at(box, elems[box]);
  } else {
    for (int64_t box = 0; box < count; ++box) look_at(box, scores.at_f64(offset + box));
  }
  return candidates;
}

/// Boxes of one class, by falling score, that overlap none selected before by too much.
std::vector<int64_t> select_boxes(const std::vector<Box>& boxes, const Tensor& scores,
                                  int64_t offset, const Suppression& suppression) {
  std::vector<Candidate> candidates =
      candidates_of(scores, offset, static_cast<int64_t>(boxes.size()), suppression);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  std::vector<int64_t> selected;
  std::vector<Box> chosen;  // those selected, side by side
  for (const Candidate& candidate : candidates) {
    if (static_cast<int64_t>(selected.size()) >= suppression.most) break;
    const Box& box = boxes[candidate.box];
    const bool is_free = std::none_of(chosen.begin(), chosen.end(), [&](const Box& other) {
      return overlap_by_more(box, other, suppression.iou_threshold);
    });
    if (!is_free) continue;
    selected.push_back(candidate.box);
    chosen.push_back(box);
  }
  return selected;
}

/// Boxes [batch, boxes, 4], scores [batch, classes, boxes]: rows of batch, class and box.
Result<Values> run_non_max_suppression(const Call& call) {
  CORF_ASSIGN(const Tensor boxes, call.tensor(0));
  CORF_ASSIGN(const Tensor scores, call.tensor(1));
  const Shape &b = boxes.shape(), &s = scores.shape();
  if (b.size() != 3 || s.size() != 3 || b[2] != 4 || b[0] != s[0] || b[1] != s[2]) {
    return call.bad_value("boxes {} do not fit scores {}", to_string(b), to_string(s));
  }
  if (!is_float(boxes.dtype()) || !is_float(scores.dtype())) {
    return call.invalid("boxes and scores are {} and {}, not floats", call.input(0).described(),
                        call.input(1).described());
  }
  Suppression suppression;
  CORF_ASSIGN(const auto most, one_number(call, 2));
  CORF_ASSIGN(const auto iou_threshold, one_number(call, 3));
  CORF_ASSIGN(suppression.score_threshold, one_number(call, 4));
  suppression.most =
      static_cast<int64_t>(std::clamp(most.value_or(0), 0.0, static_cast<double>(b[1])));
  suppression.iou_threshold = iou_threshold.value_or(0);
  std::vector<int64_t> found;
  const int64_t batches = b[1] == 0 || s[1] == 0 ? 0 : b[0];
  for (int64_t batch = 0; batch < batches; ++batch) {
    std::vector<Box> of_batch;
    for (int64_t i = 0; i < b[1]; ++i) {
      of_batch.push_back(
          read_box(boxes, batch * b[1] + i, call.int_attribute("center_point_box", 0) != 0));
    }
    for (int64_t c = 0; c < s[1]; ++c) {
      for (const int64_t box :
           select_boxes(of_batch, scores, (batch * s[1] + c) * s[2], suppression)) {
        found.insert(found.end(), {batch, c, box});
      }
    }
  }
  return Values{integers({static_cast<int64_t>(found.size()) / 3, 3}, found)};
}

constexpr RoutineEntry kRoutines[] = {
    {"Compress", run_compress},
    {"NonMaxSuppression", run_non_max_suppression, true},
    {"NonZero", run_non_zero},
    {"Unique", run_unique, true},
};

}  // namespace

std::span<const RoutineEntry> selection_routines() { return kRoutines; }

}  // namespace corf::host
