// All cases, family by family.
#include "dev/kernels/cases.h"

namespace registry {

const std::vector<Case>& cases() {
    static const std::vector<Case> all = [] {
        std::vector<Case> list;
        add_elementwise(list);
        add_pruning(list);
        add_rows(list);
        add_sampling(list);
        add_attention(list);
        add_not_finite(list);
        add_matmul(list);
        add_low_rank_sums(list);
        add_adamw(list);
        add_ranks(list);
        return list;
    }();
    return all;
}

}  // namespace registry
