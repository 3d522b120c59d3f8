// SHA-256 of files and buffers, for checking what was downloaded and what a checkpoint holds.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

// A digest fed in pieces. hex() may be called once, at the end.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;

    void update(const void* data, size_t bytes);
    std::string hex();

  private:
    evp_md_ctx_st* context;
};

// The digest of a text, and of a whole file, as 64 lower-case hexadecimal digits.
std::string sha256_text(std::string_view text);
std::string sha256_file(const std::string& path);
// Whether a text can be such a digest.
bool is_sha256(std::string_view text);
