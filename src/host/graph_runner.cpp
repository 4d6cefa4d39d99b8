#include "host/graph_runner.h"

#include "host/routines.h"
#include "session/tensor_views.h"

namespace corf::host {

namespace {

/// Of one block, one behind the other.
constexpr int kMostCuts = 4096;

}  // namespace

using onnx::describe;
using onnx::ModelNode;
using onnx::names_read;

GraphRunner::GraphRunner(onnx::Block block, const OpenSegment& open_segment)
    : named_(std::move(block)) {
  std::unordered_set<std::string> outputs(named_.block.outputs.begin(), named_.block.outputs.end());
  root_ = std::make_unique<Segment>(named_, open_segment, 0, named_.block.nodes.size(),
                                    std::move(outputs));
}
GraphRunner::~GraphRunner() = default;

Result<std::vector<Value>> GraphRunner::run(std::vector<Value> inputs, const Scope* around,
                                            const Scope::Observe* observe) {
  if (inputs.size() != block().inputs.size()) {
    return make_error(ErrorCode::kInvalidModel, "a body takes {} values and is given {}",
                      block().inputs.size(), inputs.size());
  }
  Scope scope(named_, around, around != nullptr ? around->observe() : observe);
  for (size_t i = 0; i < inputs.size(); ++i) scope.set(block().inputs[i], std::move(inputs[i]));
  CORF_RETURN_IF_ERROR(root_->run(scope));
  std::vector<Value> outputs;
  for (const std::string& name : block().outputs) {
    CORF_ASSIGN(Value output, scope.find(name));
    outputs.push_back(std::move(output));
  }
  return outputs;
}

Segment::Segment(const NamedBlock& named, const OpenSegment& open_segment, size_t begin, size_t end,
                 std::unordered_set<std::string> outputs, int depth)
    : named_(named),
      open_segment_(open_segment),
      begin_(begin),
      end_(end),
      depth_(depth),
      outputs_(std::move(outputs)) {}

Status Segment::run(Scope& scope) {
  // Along the segments behind each cut, of which there may be many.
  for (Segment* segment = this; segment != nullptr;) {
    CORF_ASSIGN(const auto pieces, segment->run_until_cut(scope));
    segment = pieces ? pieces->after.get() : nullptr;
  }
  return {};
}

Result<std::shared_ptr<const Segment::Pieces>> Segment::run_until_cut(Scope& scope) {
  if (begin_ == end_) return std::shared_ptr<const Pieces>();
  std::shared_ptr<const Pieces> pieces;
  std::shared_ptr<const SegmentModel> model;
  {
    std::scoped_lock lock(mutex_);
    if (!model_ && !pieces_) CORF_RETURN_IF_ERROR(prepare(scope));
    pieces = pieces_;
    model = model_;
  }
  if (!pieces) {
    CORF_ASSIGN(pieces, run_model(*model, scope));
  }
  if (!pieces) return pieces;
  CORF_RETURN_IF_ERROR(pieces->before->run(scope));
  if (pieces->node) CORF_RETURN_IF_ERROR(pieces->node->run(scope));
  return pieces;
}

Status Segment::prepare(const Scope& scope) {
  if (depth_ > kMostCuts) {
    return make_error(ErrorCode::kUnsupported,
                      "the model has to be cut at more than {} nodes; "
                      "the next is {}",
                      kMostCuts, describe(*node(begin_).proto));
  }
  for (size_t i = begin_; i < end_; ++i) {
    const auto names = names_read(*node(i).proto);
    const bool on_host = is_host_only(*node(i).proto) ||
                         std::any_of(names.begin(), names.end(), [&](const auto& name) {
                           return !name.empty() && scope.is_no_tensor(name);
                         });
    if (!on_host) continue;
    pieces_ = std::make_shared<const Pieces>(cut(i, true));
    return {};
  }
  CORF_ASSIGN(SegmentModel model, make_segment_model(scope));
  model_ = std::make_shared<const SegmentModel>(std::move(model));
  return {};
}

std::unordered_set<std::string> Segment::defined_by(size_t begin, size_t end) const {
  std::unordered_set<std::string> defined;
  for (size_t i = begin; i < end; ++i) {
    for (const std::string& name : node(i).proto->output()) {
      if (!name.empty()) defined.insert(name);
    }
  }
  return defined;
}

Result<Segment::SegmentModel> Segment::make_segment_model(const Scope& scope) const {
  SegmentModel model;
  const auto defined = defined_by(begin_, end_);
  std::unordered_set<std::string> seen;
  std::vector<onnx::ModelTensor> inputs;
  for (size_t i = begin_; i < end_; ++i) {
    for (const std::string& name : names_read(*node(i).proto)) {
      if (name.empty() || defined.contains(name) || !seen.insert(name).second ||
          scope.find_constant(name) != nullptr) {
        continue;
      }
      CORF_ASSIGN(const Value value, scope.find(name));
      onnx::ModelTensor input;
      input.name = name;
      input.dtype = value.tensor()->dtype();
      input.has_rank = false;
      inputs.push_back(input);
      model.inputs.push_back(name);
    }
  }
  for (size_t i = begin_; i < end_; ++i) {
    for (const std::string& name : node(i).proto->output()) {
      if (!name.empty() && outputs_.contains(name)) model.outputs.push_back(name);
    }
  }
  model.model = onnx::make_segment_model(
      named_.block, std::span(named_.block.nodes).subspan(begin_, end_ - begin_), std::move(inputs),
      model.outputs, [&](const std::string& name) { return scope.find_constant(name); });
  CORF_ASSIGN(model.session, open_segment_(model.model));
  return model;
}

Segment::Pieces Segment::cut(size_t position, bool on_host) const {
  const size_t next = on_host ? position + 1 : position;
  std::unordered_set<std::string> read = outputs_;  // behind the segment before
  for (size_t i = position; i < end_; ++i) {
    for (const std::string& name : names_read(*node(i).proto)) read.insert(name);
  }
  Pieces pieces;
  pieces.before = std::make_unique<Segment>(named_, open_segment_, begin_, position,
                                            std::move(read), depth_ + 1);
  if (on_host) {
    pieces.node = std::make_unique<HostNode>(named_.block, node(position), open_segment_);
  }
  pieces.after = std::make_unique<Segment>(named_, open_segment_, next, end_, outputs_, depth_ + 1);
  return pieces;
}

Result<std::shared_ptr<const Segment::Pieces>> Segment::run_model(const SegmentModel& model,
                                                                  Scope& scope) {
  const std::shared_ptr<const Pieces> none;
  if (model.outputs.empty()) return none;
  std::vector<Tensor> inputs;
  for (const std::string& name : model.inputs) {
    CORF_ASSIGN(const Value value, scope.find(name));
    if (value.tensor() == nullptr) {
      return make_error(ErrorCode::kUnsupported, "value '{}' is {} after it was a tensor", name,
                        value.described());
    }
    inputs.push_back(*value.tensor());
  }
  const session::TensorViews views(inputs);
  const auto compiled = model.session->compile(views.pointers());
  if (!compiled.ok()) {
    const auto pieces = cut_at_obstacle(views.pointers());
    if (!pieces) return compiled.error();
    return pieces;
  }
  if (scope.observe() != nullptr) {
    CORF_RETURN_IF_ERROR((*scope.observe())(*model.session, views.pointers()));
  }
  CORF_ASSIGN(std::vector<Tensor> outputs,
              session::run(**compiled, *model.session, views.pointers()));
  for (size_t i = 0; i < outputs.size(); ++i) scope.set(model.outputs[i], std::move(outputs[i]));
  return none;
}

std::shared_ptr<const Segment::Pieces> Segment::cut_at_obstacle(
    const std::vector<const corf_tensor*>& inputs) {
  std::scoped_lock lock(mutex_);
  if (pieces_) return pieces_;
  const auto given = model_->session->shapes_of(inputs);
  if (!given.ok()) return nullptr;
  const auto obstacle =
      onnx::find_obstacle(*model_->model, *given, model_->session->decide(*given, inputs));
  if (!obstacle) return nullptr;
  const size_t position = begin_ + *obstacle;
  // A segment that begins with a node that the host cannot carry out is as small as can be.
  const bool on_host = is_host_operator(*node(position).proto);
  if (position == begin_ && !on_host) return nullptr;
  pieces_ = std::make_shared<const Pieces>(cut(position, on_host));
  return pieces_;
}

namespace {

/// Nothing is made before the first run: most models never need it.
class Program final : public session::PieceRunner {
 public:
  Program(GetModel model, OpenSegment open_segment)
      : model_(std::move(model)), open_segment_(std::move(open_segment)) {}

  Result<std::vector<Value>> run(const std::vector<Value>& inputs,
                                 const Observe& observe) override {
    CORF_ASSIGN(GraphRunner * graph, graph_of_model());
    return graph->run(inputs, nullptr, observe ? &observe : nullptr);
  }

 private:
  Result<GraphRunner*> graph_of_model() {
    std::scoped_lock lock(mutex_);
    if (!graph_) {
      CORF_ASSIGN(auto model, model_());
      CORF_ASSIGN(onnx::Block block, onnx::main_block(std::move(model)));
      graph_ = std::make_unique<GraphRunner>(std::move(block), open_segment_);
    }
    return graph_.get();
  }

  const GetModel model_;
  const OpenSegment open_segment_;
  std::mutex mutex_;
  std::unique_ptr<GraphRunner> graph_;  // under mutex_
};

}  // namespace

std::shared_ptr<session::PieceRunner> make_program(GetModel model, OpenSegment open_segment) {
  return std::make_shared<Program>(std::move(model), std::move(open_segment));
}

}  // namespace corf::host
