// JSON texts to values and back, compiled once: the library's parser and writer take long to compile.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// Values may lie this deep within each other: what works on them is recursive, and none of our files comes near it.
inline constexpr int kMaxJsonDepth = 64;

// The value that a text states; a discarded one (is_discarded()) where the text is not JSON, too deep, or has a zero
// byte.
nlohmann::json parse_json(std::string_view text);
// The same with the keys in the order of the text. Calls each_key(key), which may throw, for the keys of the outermost
// object, those that repeat an earlier one included.
nlohmann::ordered_json parse_ordered_json(std::string_view text,
                                          const std::function<void(const std::string& key)>& each_key);
// The text of a file; throws where it is too large for what we keep as JSON.
std::string read_json_text(const std::string& path);
// The value that a file's text states; throws where that is not JSON, too deep, or has a zero byte.
nlohmann::json json_in(const std::string& path, std::string_view text);
// Both in one.
nlohmann::json read_json(const std::string& path);
// The text of a value, on one line or indented by so many spaces. Whatever is not UTF-8 is replaced.
std::string json_text(const nlohmann::json& value, int indent = -1);
