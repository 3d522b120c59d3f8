#include "train/option_table.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/utf8.h"
#include "runtime/error.h"

namespace {

// The number that a text is, all of it.
template <class Number>
bool parse(const std::string& text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

template <class T>
std::string list(const std::vector<T>& values, const char* between) {
    std::string text;
    for (const T& value : values) text += (text.empty() ? "" : between) + value;
    return text;
}

// The option's value, if it is allowed. A text is `stored` where it is kept in files, which hold UTF-8 only.
template <class T>
T value_of(const std::string& text, const Allowed& allowed, bool stored, const std::string& where) {
    if constexpr (std::is_same_v<T, bool>) {
        USAGE_CHECK(text == "true" || text == "false", where, ": '", text, "' is neither true nor false");
        return text == "true";
    } else if constexpr (std::is_same_v<T, std::string>) {
        if (const auto* names = std::get_if<Names>(&allowed))
            USAGE_CHECK(std::find(names->begin(), names->end(), text) != names->end(), where, ": '", text,
                        "' is not one of ", list(*names, ", "));
        USAGE_CHECK(!text.empty() || std::holds_alternative<TextOrEmpty>(allowed), where,
                    " is empty; leave it out to have the default");
        USAGE_CHECK(text.find('\0') == std::string::npos, where, " holds a zero byte");
        const size_t bad = stored ? find_invalid_utf8(text) : std::string::npos;
        USAGE_CHECK(bad == std::string::npos, where, ": byte ", bad + 1, ", which is ",
                    bad == std::string::npos ? 0 : int(uint8_t(text[bad])),
                    ", is not UTF-8, which is all that the files of a run can hold; rename what it names");
        return text;
    } else {
        T number = 0;
        if constexpr (std::is_floating_point_v<T>) {
            USAGE_CHECK(parse(text, number) && !std::isnan(number), where, ": ", text.empty() ? "''" : text,
                        " is not a number");
            if (const auto* range = std::get_if<Range>(&allowed))
                USAGE_CHECK(number >= range->least && number <= range->most, where, ": ", text, " is not between ",
                            range->least, " and ", range->most);
        } else {
            const auto& range = std::get<WholeRange>(allowed);
            int64_t whole = 0;
            const bool is_whole =
                !text.empty() && text.find_first_not_of("0123456789", text[0] == '-') == std::string::npos;
            USAGE_CHECK(is_whole && text != "-", where, ": '", text, "' is not a whole number");
            USAGE_CHECK(parse(text, whole) && whole >= range.least && whole <= range.most, where, ": ", text,
                        " is not between ", range.least, " and ", range.most);
            number = T(whole);
        }
        return number;
    }
}

template <class T>
constexpr ValueKind kind_of() {
    if constexpr (std::is_same_v<T, std::string>) return ValueKind::text;
    if constexpr (std::is_same_v<T, bool>) return ValueKind::truth;
    return std::is_floating_point_v<T> ? ValueKind::number : ValueKind::whole;
}

const char* name_of(ValueKind kind) {
    constexpr const char* kNames[] = {"a text in quotes", "a whole number", "a number", "true or false"};
    return kNames[size_t(kind)];
}

// What the help says of the values.
std::string allowed_text(ValueKind kind, const Allowed& allowed) {
    if (const auto* names = std::get_if<Names>(&allowed)) return "{" + list(*names, ",") + "}";
    if (const auto* range = std::get_if<WholeRange>(&allowed))
        return range->most == INT64_MAX ? "INT" : str("INT in [", range->least, " - ", range->most, "]");
    if (const auto* range = std::get_if<Range>(&allowed))
        return str("FLOAT in [", range->least, " - ", range->most, "]");
    return kind == ValueKind::text ? "TEXT" : "FLOAT";
}

}  // namespace

template <class T>
void OptionTable::add(const std::string& name, T& value, Decides decides, const Allowed& allowed,
                      const std::string& help) {
    constexpr ValueKind kKind = kind_of<T>();
    CLI::Option* option;
    if constexpr (kKind == ValueKind::truth) {
        option = app_.add_flag("--" + name, help);
    } else {
        option = app_.add_option("--" + name)->description(help)->type_name(allowed_text(kKind, allowed));
        if constexpr (kKind == ValueKind::text)
            option->default_str(value);
        else if (value != T(-1))
            option->default_str(toml_text(value));
    }
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->group(group);
    entries_.push_back({.name = name,
                        .decides = decides,
                        .kind = kKind,
                        .text = [&value] { return toml_text(value); },
                        .set =
                            [&value, allowed, decides](const std::string& text, const std::string& where) {
                                value = value_of<T>(text, allowed, decides != kThisStart, where);
                            }});
}
template void OptionTable::add(const std::string&, std::string&, Decides, const Allowed&, const std::string&);
template void OptionTable::add(const std::string&, bool&, Decides, const Allowed&, const std::string&);
template void OptionTable::add(const std::string&, int64_t&, Decides, const Allowed&, const std::string&);
template void OptionTable::add(const std::string&, uint64_t&, Decides, const Allowed&, const std::string&);
template void OptionTable::add(const std::string&, double&, Decides, const Allowed&, const std::string&);

void OptionTable::take_command_line() {
    for (Entry& entry : entries_) {
        const std::string name = "--" + entry.name;
        const std::vector<std::string> values = app_.get_option(name)->results();
        if (values.empty()) continue;
        USAGE_CHECK(values.size() == 1 || entry.kind == ValueKind::truth, name, " is given ", values.size(), " times");
        entry.set(values.back(), name);
        entry.given = entry.decided = true;
    }
}

void OptionTable::take_config(const std::string& path) {
    for (const ConfigLine& line : read_config(path)) {
        const auto entry =
            std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name == line.name; });
        const std::string where = str(path, " line ", line.line, ": ", line.name);
        USAGE_CHECK(entry != entries_.end() && line.name != "config", where,
                    " is no option of a config file (--help lists every option)");
        USAGE_CHECK(line.kind == entry->kind || (line.kind == ValueKind::whole && entry->kind == ValueKind::number),
                    where, " is ", name_of(line.kind), ", but should be ", name_of(entry->kind));
        if (!entry->given) entry->set(line.value, where);
        entry->decided = true;
    }
}

void OptionTable::take_recipe(const std::vector<std::pair<std::string, std::string>>& recipe) {
    for (Entry& entry : entries_)
        for (const auto& [name, value] : recipe)
            if (name == entry.name && !entry.decided) entry.set(value, "--recipe: " + name);
}
