#include "io/json.h"

#include "io/files.h"
#include "runtime/error.h"

using nlohmann::json;

json parse_json(std::string_view text) { return json::parse(text, nullptr, /*allow_exceptions=*/false); }

json read_json(const std::string& path) {
    try {
        return json::parse(read_file(path));
    } catch (const json::exception& error) {
        FAIL(path, " is not valid JSON: ", error.what());
    }
}

std::string json_text(const json& value, int indent) {
    return value.dump(indent, ' ', false, json::error_handler_t::replace);
}
