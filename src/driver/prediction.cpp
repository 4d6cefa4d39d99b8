#include "driver/prediction.h"

#include "cost/group_cost.h"

namespace corf::driver {

search::GroupTime prediction(const graph::Graph& graph, const Machine& machine) {
  return [&graph, model = cost::Model(machine)](const fusion::StoragePlan& storage,
                                                const fusion::GroupPlan& group,
                                                const fusion::WrittenSpans& written) {
    return cost::predict(graph, storage, group, model, written).total(model.k);
  };
}

}  // namespace corf::driver
