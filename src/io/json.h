// JSON texts to values and back, compiled once: the library's parser and writer take long to compile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// The value of a text; a discarded one (is_discarded()) where it is not JSON.
nlohmann::json parse_json(std::string_view text);
// The value in a file; throws where it is not JSON.
nlohmann::json read_json(const std::string& path);
// On one line, or indented by so many spaces. What is not UTF-8 is replaced.
std::string json_text(const nlohmann::json& value, int indent = -1);
