#include "checkpoint/state_fields.h"

#include <utility>

#include "io/json.h"
#include "io/sha256.h"
#include "runtime/error.h"

using nlohmann::json;

StateFields::StateFields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    CHECK(object.is_object(), where_, " is ", json_text(object), ", it should be an object");
}

const json& StateFields::at(const std::string& name) {
    asked_.insert(name);
    const auto found = object_.find(name);
    CHECK(found != object_.end(), where_, " has no \"", name, "\"");
    return *found;
}

void StateFields::refuse(const std::string& name, const std::string& right) const {
    FAIL(where_, ": \"", name, "\" is ", json_text(object_.at(name)), ", it should be ", right);
}

int64_t StateFields::whole(const std::string& name, int64_t least, int64_t most) {
    const json& value = at(name);
    // A number above the largest int64 is kept as an unsigned one.
    const bool small = value.is_number_integer() && !(value.is_number_unsigned() && value > uint64_t(INT64_MAX));
    if (!small || value < least || value > most) refuse(name, str("a whole number from ", least, " to ", most));
    return value;
}

uint64_t StateFields::unsigned_whole(const std::string& name) {
    const json& value = at(name);
    if (!value.is_number_unsigned()) refuse(name, "a whole number from 0 on");
    return value;
}

double StateFields::number(const std::string& name, double least, double most) {
    const json& value = at(name);
    if (!value.is_number() || !(value >= least && value <= most)) refuse(name, str("from ", least, " to ", most));
    return value;
}

std::string StateFields::text(const std::string& name) {
    const json& value = at(name);
    if (!value.is_string()) refuse(name, "a text");
    return value;
}

std::string StateFields::sha256(const std::string& name) {
    const std::string value = text(name);
    if (!is_sha256(value)) refuse(name, "a SHA-256, 64 hexadecimal digits");
    return value;
}

bool StateFields::either(const std::string& name, const std::string& yes, const std::string& no) {
    const std::string value = text(name);
    if (value != yes && value != no) refuse(name, str('"', yes, "\" or \"", no, '"'));
    return value == yes;
}

StateFields StateFields::object(const std::string& name) { return {at(name), where_ + ": \"" + name + "\""}; }

std::vector<StateFields> StateFields::objects(const std::string& name) {
    const json& list = at(name);
    if (!list.is_array()) refuse(name, "a list");
    std::vector<StateFields> all;
    for (size_t i = 0; i < list.size(); i++) all.emplace_back(list[i], str(where_, ": \"", name, "\" number ", i));
    return all;
}

std::map<std::string, std::string> StateFields::texts(const std::string& name) {
    StateFields fields = object(name);
    std::map<std::string, std::string> values;
    for (const auto& [key, value] : fields.object_.items()) values[key] = fields.text(key);
    return values;
}

std::map<std::string, int64_t> StateFields::wholes(const std::string& name, int64_t least, int64_t most) {
    StateFields fields = object(name);
    std::map<std::string, int64_t> values;
    for (const auto& [key, value] : fields.object_.items()) values[key] = fields.whole(key, least, most);
    return values;
}

void StateFields::end() const {
    for (const auto& [key, value] : object_.items())
        CHECK(asked_.contains(key), where_, " has an unknown \"", key, "\"");
}
