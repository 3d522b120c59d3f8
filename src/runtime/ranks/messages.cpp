#include "runtime/ranks/messages.h"

#include <algorithm>

#include "runtime/error.h"
#include "runtime/ranks/connection.h"

namespace ranks {

namespace {

constexpr int kMostRanks = 1 << 20;
constexpr size_t kMostNamed = 12;

std::string_view take_line(std::string_view& text) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    return line;
}
std::string quoted(std::string_view line, bool is_there) {
    return is_there ? "`" + std::string(line) + "`" : std::string("nothing");
}

}  // namespace

std::string Hello::packed() const {
    return Packer()
        .add(protocol)
        .add(nonce)
        .add(token)
        .add(size)
        .add(rank)
        .add(machine)
        .add(host)
        .add(agreement)
        .body();
}
Hello Hello::unpack(std::string_view body) {
    Unpacker from(body);
    Hello hello{.protocol = from.number()};
    if (hello.protocol != kProtocol) return hello;
    hello.nonce = from.text();
    hello.token = from.text();
    hello.size = from.number(1, kMostRanks);
    hello.rank = from.number(1, kMostRanks);
    hello.machine = from.text();
    hello.host = from.text();
    hello.agreement = from.text();
    from.end();
    return hello;
}

std::string FailureNews::packed() const { return Packer().add(rank).add(exit_code).add(message).body(); }
FailureNews FailureNews::unpack(std::string_view body) {
    Unpacker from(body);
    FailureNews news;
    news.rank = from.number(0, kMostRanks);
    news.exit_code = from.number(0, 255);
    news.message = from.text();
    from.end();
    return news;
}

std::string ranks_text(const std::vector<int>& ranks) {
    std::string text = ranks.size() == 1 ? "rank " : "ranks ";
    for (size_t i = 0; i < std::min(ranks.size(), kMostNamed); i++)
        text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
    if (ranks.size() > kMostNamed) text += str(" and ", ranks.size() - kMostNamed, " more");
    return text;
}

std::string first_difference(std::string_view text, std::string_view rank_0s) {
    while (!text.empty() || !rank_0s.empty()) {
        const bool has = !text.empty(), has_0 = !rank_0s.empty();
        const std::string_view line = take_line(text), line_0 = take_line(rank_0s);
        if (line != line_0 || has != has_0) return quoted(line, has) + ", where rank 0 has " + quoted(line_0, has_0);
    }
    return {};
}

}  // namespace ranks
