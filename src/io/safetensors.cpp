// Layout: header length (u64), JSON {"name": {"dtype", "shape", "data_offsets"}, …}, bytes of the arrays.
#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <set>

#include "io/json.h"
#include "runtime/error.h"

static_assert(std::endian::native == std::endian::little, "the format is little-endian and read as it is");

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kAlignment = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr const char* kMetadataKey = "__metadata__";

// Bytes of an element, 0 for a type that the format does not have.
int64_t dtype_bytes(const std::string& dtype) {
    static const std::map<std::string, int64_t> sizes = {
        {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
        {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
    const auto found = sizes.find(dtype);
    return found == sizes.end() ? 0 : found->second;
}

// Bytes of an array, -1 where the shape makes no sense or its product overflows.
int64_t array_bytes(const std::string& dtype, const std::vector<int64_t>& shape) {
    int64_t bytes = dtype_bytes(dtype);
    for (const int64_t size : shape) {
        if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return -1;
    }
    return bytes;
}

// The numbers of a JSON array; false if it is anything else.
bool read_sizes(const Json& json, std::vector<int64_t>& sizes) {
    if (!json.is_array()) return false;
    for (const Json& size : json) {
        if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t(INT64_MAX)) return false;
        sizes.push_back(size.get<int64_t>());
    }
    return true;
}

SafetensorsEntry parse_entry(const std::string& path, const std::string& name, const Json& json) {
    SafetensorsEntry entry;
    entry.name = name;
    const auto field = [&](const char* key) -> const Json& {
        CHECK(json.is_object() && json.contains(key), path, ": tensor ", name, " has no ", key);
        return json.at(key);
    };
    const Json& dtype = field("dtype");
    CHECK(dtype.is_string(), path, ": tensor ", name, " has a dtype that is not a string");
    entry.dtype = dtype.get<std::string>();
    CHECK(dtype_bytes(entry.dtype) > 0, path, ": tensor ", name, " has the unknown dtype ", json_text(entry.dtype));
    CHECK(read_sizes(field("shape"), entry.shape), path, ": tensor ", name, " has a shape that is not a list of sizes");
    std::vector<int64_t> offsets;
    CHECK(read_sizes(field("data_offsets"), offsets) && offsets.size() == 2 && offsets[0] <= offsets[1], path,
          ": tensor ", name, " has data_offsets that are not [begin, end]");
    entry.begin = offsets[0];
    entry.end = offsets[1];
    const int64_t bytes = array_bytes(entry.dtype, entry.shape);
    CHECK(bytes >= 0, path, ": tensor ", name, " has the impossible shape ", shape_text(entry.shape));
    CHECK(bytes == entry.bytes(), path, ": tensor ", name, " has ", entry.bytes(), " bytes, ", entry.dtype, " ",
          shape_text(entry.shape), " needs ", bytes);
    return entry;
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); i++) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const Metadata& metadata)
    : file_(path), metadata_(metadata) {}

void SafetensorsWriter::add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
    CHECK(!header_written_, file_.path(), ": tensor ", name, " was added after the first bytes were written");
    CHECK(dtype_bytes(dtype) > 0, file_.path(), ": tensor ", name, " has the unknown dtype ", dtype);
    const int64_t bytes = array_bytes(dtype, shape);
    CHECK(bytes >= 0, file_.path(), ": tensor ", name, " has the impossible shape ", shape_text(shape));
    const int64_t begin = entries_.empty() ? 0 : entries_.back().end;
    entries_.push_back({name, dtype, shape, begin, begin + bytes});
}

void SafetensorsWriter::write_header() {
    Json json = Json::object();
    if (!metadata_.empty()) json[kMetadataKey] = metadata_;
    std::set<std::string> names = {kMetadataKey};
    for (const SafetensorsEntry& entry : entries_) {
        CHECK(names.insert(entry.name).second, file_.path(), ": tensor ", entry.name, " was added twice");
        json[entry.name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
    }
    // Metadata may hold a path of the user's, which need not be UTF-8.
    std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
    const uint64_t length = text.size();
    file_.write(&length, sizeof length);
    file_.write(text.data(), text.size());
    header_written_ = true;
}

// An array without elements needs no write() of its own.
void SafetensorsWriter::skip_complete() {
    while (current_ < entries_.size() && written_ == entries_[current_].end) current_++;
}

void SafetensorsWriter::write(const std::string& name, const void* data, size_t bytes) {
    if (!header_written_) write_header();
    if (bytes == 0) return;
    skip_complete();
    CHECK(current_ < entries_.size() && entries_[current_].name == name, file_.path(), ": bytes of tensor ", name,
          " came where those of ", current_ < entries_.size() ? entries_[current_].name : "none", " were due");
    CHECK(int64_t(bytes) <= entries_[current_].end - written_, file_.path(), ": tensor ", name, " got more than its ",
          entries_[current_].bytes(), " bytes");
    file_.write(data, bytes);
    written_ += int64_t(bytes);
}

std::string SafetensorsWriter::close() {
    if (!header_written_) write_header();
    skip_complete();
    CHECK(current_ == entries_.size(), file_.path(), ": tensor ", entries_[current_].name, " was not written in full");
    return file_.close();
}

SafetensorsReader::SafetensorsReader(const std::string& path) : file_(path) {
    const int64_t size = file_.size();
    CHECK(size >= kLengthBytes, path, " is truncated: ", size, " bytes, less than the start of a safetensors file");
    uint64_t length;
    file_.read(0, &length, sizeof length);
    CHECK(length <= kMaxHeaderBytes, path, " is not a safetensors file: its first 8 bytes give a header of ", length,
          " bytes, the limit is ", kMaxHeaderBytes);
    data_at_ = kLengthBytes + int64_t(length);
    CHECK(data_at_ <= size, path, " is truncated: ", size, " bytes, its header alone needs ", data_at_);
    std::string header(length, '\0');
    file_.read(kLengthBytes, header.data(), header.size());
    parse_header(header);
    check_layout(size - data_at_);
}

void SafetensorsReader::parse_header(const std::string& header) {
    CHECK(header.starts_with('{'), path(), " is not a safetensors file: its header does not start with {");
    std::set<std::string> names;
    const Json json = parse_ordered_json(header, [&](const std::string& name) {
        CHECK(std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }), path(),
              ": the tensor name ", json_text(name), " has control characters");
        CHECK(names.insert(name).second, path(), ": tensor ", name, " is there twice");
    });
    CHECK(!json.is_discarded(), path(), " is not a safetensors file: its header is not valid JSON of at most ",
          kMaxJsonDepth, " levels");
    for (const auto& [name, value] : json.items()) {
        if (name != kMetadataKey) {
            entries_.push_back(parse_entry(path(), name, value));
            continue;
        }
        CHECK(value.is_object(), path(), ": ", kMetadataKey, " is not an object");
        for (const auto& [key, text] : value.items()) {
            CHECK(text.is_string(), path(), ": ", kMetadataKey, " entry ", key, " is not a string");
            metadata_[key] = text.get<std::string>();
        }
    }
}

// The arrays must fill the data exactly: no gap, no overlap, nothing missing, nothing left.
void SafetensorsReader::check_layout(int64_t data_bytes) {
    std::stable_sort(entries_.begin(), entries_.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    int64_t end = 0;
    for (size_t i = 0; i < entries_.size(); i++) {
        const SafetensorsEntry& entry = entries_[i];
        CHECK(entry.begin == end, path(), ": tensor ", entry.name, " starts at byte ", entry.begin,
              " of the data, the one before it ends at ", end);
        CHECK(entry.end <= data_bytes, path(), " is truncated: tensor ", entry.name, " ends at byte ", entry.end,
              " of the data, the file at ", data_bytes);
        end = entry.end;
        index_[entry.name] = i;
    }
    CHECK(end == data_bytes, path(), " has ", data_bytes - end, " bytes after its last tensor");
}

const SafetensorsEntry* SafetensorsReader::find(const std::string& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &entries_[found->second];
}

const SafetensorsEntry& SafetensorsReader::at(const std::string& name) const {
    const SafetensorsEntry* entry = find(name);
    CHECK(entry, path(), " has no tensor ", name);
    return *entry;
}

const SafetensorsEntry& SafetensorsReader::at(const std::string& name, const std::vector<int64_t>& shape) const {
    const SafetensorsEntry& entry = at(name);
    CHECK(entry.shape == shape, path(), ": tensor ", name, " has the shape ", shape_text(entry.shape), ", ",
          shape_text(shape), " is needed");
    return entry;
}

void SafetensorsReader::read(const SafetensorsEntry& entry, void* to) const {
    file_.read(data_at_ + entry.begin, to, size_t(entry.bytes()));
}
