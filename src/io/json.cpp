#include "io/json.h"

#include <algorithm>

#include "io/files.h"
#include "runtime/error.h"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr int64_t kMaxFileBytes = 64 << 20;

// How deep the brackets of a text are nested, those within strings left out.
int depth_of(std::string_view text) {
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); i++) {
        const char c = text[i];
        if (c == '"') quoted = !quoted;
        if (quoted) {
            if (c == '\\') i++;
        } else if (c == '[' || c == '{') {
            deepest = std::max(deepest, ++depth);
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return deepest;
}

// The library takes a zero byte for the end of the text, and what comes after it for nothing.
bool has_zero_byte(std::string_view text) { return text.find('\0') != text.npos; }

// The reason for which a text is refused, without the library's number for it.
std::string reason_of(const json::exception& error) {
    const std::string_view what = error.what(), behind = "] ";
    const size_t number = what.starts_with('[') ? what.find(behind) : what.npos;
    return std::string(number == what.npos ? what : what.substr(number + behind.size()));
}

}  // namespace

json parse_json(std::string_view text) {
    if (depth_of(text) > kMaxJsonDepth || has_zero_byte(text)) return json::value_t::discarded;
    return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

ordered_json parse_ordered_json(std::string_view text, const std::function<void(const std::string& key)>& each_key) {
    if (depth_of(text) > kMaxJsonDepth || has_zero_byte(text)) return ordered_json::value_t::discarded;
    const auto note_key = [&](int depth, ordered_json::parse_event_t event, ordered_json& value) {
        if (event == ordered_json::parse_event_t::key && depth == 1) each_key(value.get_ref<const std::string&>());
        return true;
    };
    return ordered_json::parse(text, note_key, /*allow_exceptions=*/false);
}

std::string read_json_text(const std::string& path) { return read_file(path, kMaxFileBytes); }

json json_in(const std::string& path, std::string_view text) {
    CHECK(!has_zero_byte(text), path, " is not valid JSON: it has a zero byte");
    CHECK(depth_of(text) <= kMaxJsonDepth, path, " is not usable: its JSON is nested deeper than ", kMaxJsonDepth,
          " levels");
    try {
        return json::parse(text);
    } catch (const json::exception& error) {
        FAIL(path, " is not valid JSON: ", reason_of(error));
    }
}

json read_json(const std::string& path) { return json_in(path, read_json_text(path)); }

std::string json_text(const json& value, int indent) {
    return value.dump(indent, ' ', false, json::error_handler_t::replace);
}
