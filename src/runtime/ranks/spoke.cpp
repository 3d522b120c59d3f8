// The side of the line of every rank but rank 0: it speaks with rank 0 only.
#include <utility>

#include "runtime/ranks/side.h"

namespace ranks {

namespace {

class Spoke : public Side {
  public:
    using Side::Side;

    void join(Call call, const std::string& mine, int64_t progress) override {
        call_ = call;
        send(0, Kind::call, Packer().add(int64_t(call)).add(mine).add(progress).body());
    }
    // Rank 0 answers with the failure that came first.
    void fail(const std::string& message, int exit_code) override {
        send(0, Kind::failing, Packer().add(int64_t(exit_code)).add(message).body());
    }

  private:
    void handle(int, const Frame& frame) override {
        if (frame.kind == Kind::answer) {
            Unpacker from(frame.body);
            std::vector<std::string> all(size_t(from.number(0, place_.size)));
            for (std::string& one : all) one = from.text();
            from.end();
            if (call_ == Call::leave) end();
            outcome_.answer(std::move(all));
        } else if (frame.kind == Kind::failure) {
            if (watching()) learn({FailureNews::unpack(frame.body), false});
            end();
        } else if (frame.kind != Kind::alive) {
            throw Malformed();
        }
    }

    void lost(int, const std::string& how) override {
        learn({{.rank = 0, .exit_code = 1, .message = "rank 0 " + how}, met_.prints_without_0});
    }

    // Nothing more is to be said.
    void end() {
        left_ = true;
        met_.lines[0]->end_sending();
    }

    void learn(const Failure& failure) {
        failed_ = true;
        outcome_.failure(failure);
    }

    Call call_ = Call::gather;  // the last one that this rank has joined
};

}  // namespace

std::unique_ptr<Side> make_spoke(const Place& place, const Meeting& meeting, Met met, Outcome outcome) {
    return std::make_unique<Spoke>(place, meeting, std::move(met), std::move(outcome));
}

}  // namespace ranks
