// JSON texts to values and back, compiled once: the library's parser and writer take long to compile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// The value that a text states; a discarded one (is_discarded()) where the text is not JSON.
nlohmann::json parse_json(std::string_view text);
// The value that a file states; throws where the file is not JSON.
nlohmann::json read_json(const std::string& path);
// The text of a value, on one line or indented by so many spaces. Whatever is not UTF-8 is replaced.
std::string json_text(const nlohmann::json& value, int indent = -1);
