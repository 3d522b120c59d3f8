#include "train/config_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "io/files.h"
#include "runtime/error.h"

namespace {

constexpr int64_t kMostBytes = 1 << 20;

std::string whole_text(const std::string& path) try {
    const InputFile file(path);
    CHECK(file.size() <= kMostBytes, path, " has ", file.size(), " bytes, more than ", kMostBytes,
          ", the most that a config file may have");
    std::string text(size_t(file.size()), '\0');
    file.read(0, text.data(), text.size());
    return text;
} catch (const Error& error) {
    USAGE_FAIL("config file: ", error.what());
}

template <class... Number>
std::string shortest(Number... value) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value...).ptr};
}

const char* name_of(toml::node_type type) {
    switch (type) {
        case toml::node_type::table: return "a table";
        case toml::node_type::array: return "an array";
        case toml::node_type::date: return "a date";
        case toml::node_type::time: return "a time";
        default: return "a date with a time";
    }
}

// The value of a node, where an option can have it.
std::optional<ConfigLine> line_of(const toml::node& node) {
    const int64_t line = node.source().begin.line;
    if (const auto* text = node.as_string()) return ConfigLine{{}, ValueKind::text, text->get(), line};
    if (const auto* truth = node.as_boolean()) return ConfigLine{{}, ValueKind::truth, toml_text(truth->get()), line};
    if (const auto* whole = node.as_integer()) return ConfigLine{{}, ValueKind::whole, shortest(whole->get()), line};
    if (const auto* number = node.as_floating_point())
        return ConfigLine{{}, ValueKind::number, shortest(number->get()), line};
    return {};
}

std::optional<ConfigLine> parsed_value(const std::string& text) {
    try {
        const toml::table table = toml::parse("value = " + text);
        return table.size() == 1 ? line_of(table.begin()->second) : std::nullopt;
    } catch (const toml::parse_error&) {
        return {};
    }
}

double as_number(const ConfigLine& line) {
    double value = 0;
    std::from_chars(line.value.data(), line.value.data() + line.value.size(), value);
    return value;
}

}  // namespace

std::vector<ConfigLine> read_config(const std::string& path) {
    const std::string text = whole_text(path);
    std::vector<ConfigLine> lines;
    try {
        for (const auto& [key, node] : toml::parse(text)) {
            std::optional<ConfigLine> line = line_of(node);
            USAGE_CHECK(line, path, " line ", node.source().begin.line, ": ", key.str(), " is ", name_of(node.type()),
                        "; an option has one text, number, true or false");
            line->name = key.str();
            lines.push_back(std::move(*line));
        }
    } catch (const toml::parse_error& error) {
        std::string reason(error.description());
        std::replace(reason.begin(), reason.end(), '\n', ' ');
        USAGE_FAIL(path, " line ", error.source().begin.line, ": ", reason);
    }
    std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
    return lines;
}

std::string toml_text(std::string_view value) {
    std::string quoted(1, '"');
    for (const char c : value) {
        constexpr std::string_view kEscaped = "\"\\\n\t\r", kLetters = "\"\\ntr";
        constexpr const char* kHex = "0123456789abcdef";
        if (const size_t at = kEscaped.find(c); at != std::string_view::npos)
            quoted += {'\\', kLetters[at]};
        else if (uint8_t(c) < 0x20 || c == 0x7f)
            quoted += {'\\', 'u', '0', '0', kHex[uint8_t(c) / 16], kHex[uint8_t(c) % 16]};
        else
            quoted += c;
    }
    return quoted + '"';
}
std::string toml_text(const std::string& value) { return toml_text(std::string_view(value)); }
std::string toml_text(bool value) { return value ? "true" : "false"; }
std::string toml_text(int64_t value) { return shortest(value); }
std::string toml_text(uint64_t value) { return shortest(value); }
std::string toml_text(double value) {
    const std::string text = shortest(value);
    // TOML takes digits alone for a whole number, which has at most 64 bits.
    const bool digits_alone = text.find_first_of(".e") == std::string::npos;
    return digits_alone && text.size() > 18 ? shortest(value, std::chars_format::scientific) : text;
}

bool same_value(const std::string& a, const std::string& b) {
    if (a == b) return true;
    const auto left = parsed_value(a), right = parsed_value(b);
    if (!left || !right) return false;
    const auto is_number = [](const ConfigLine& v) {
        return v.kind == ValueKind::whole || v.kind == ValueKind::number;
    };
    // Whole numbers have more digits than a double.
    if (left->kind == right->kind && left->kind != ValueKind::number) return left->value == right->value;
    return is_number(*left) && is_number(*right) && as_number(*left) == as_number(*right);
}
