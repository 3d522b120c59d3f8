// The names under which timed ops are added up.
#include <string_view>

#include "kernels/op_timer.h"
#include "test/kernels/op_test.h"

TEST(OpTimer, AddsUpByOpOrByTheNameThatIsChosenFromWhatItMoves) {
    Buffer<float> a(3, 5), b(3, 5), c(3, 5);
    const auto add_both = [&] {
        kernels::set_op_timing(true);
        kernels::add(c.tensor(), a.tensor(), b.tensor());
        kernels::add(a.tensor(), b.tensor(), b.tensor());
        const auto totals = kernels::op_totals();
        kernels::set_op_timing(false);
        return totals;
    };
    EXPECT_EQ(add_both().at("add").calls, 2);

    kernels::set_op_namer([&](const char* op, std::initializer_list<Tensor> moved) {
        EXPECT_EQ(std::string_view(op), "add");
        EXPECT_EQ(moved.size(), 3u);
        return moved.begin()->data == c.data() ? "into c" : "elsewhere";
    });
    const auto named = add_both();
    kernels::set_op_namer({});
    EXPECT_EQ(named.size(), 2u);
    EXPECT_EQ(named.at("into c").calls, 1);
    EXPECT_EQ(named.at("elsewhere").calls, 1);
    EXPECT_EQ(named.at("into c").bytes, 3 * 15 * 4.0);
    EXPECT_EQ(add_both().size(), 1u);
}
