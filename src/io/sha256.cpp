// SHA-256 by libcrypto.
#include "io/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <vector>

#include "io/files.h"
#include "runtime/error.h"

Sha256::Sha256() : context(EVP_MD_CTX_new()) {
    CHECK(context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1, "libcrypto has no SHA-256");
}

Sha256::~Sha256() { EVP_MD_CTX_free(context); }

void Sha256::update(const void* data, size_t bytes) {
    CHECK(EVP_DigestUpdate(context, data, bytes) == 1, "libcrypto failed to hash ", bytes, " bytes");
}

std::string Sha256::hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    CHECK(EVP_DigestFinal_ex(context, digest, &size) == 1, "libcrypto failed to finish a SHA-256");
    std::string text;
    for (unsigned int i = 0; i < size; i++) {
        text += "0123456789abcdef"[digest[i] >> 4];
        text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
}

std::string sha256_text(std::string_view text) {
    Sha256 hash;
    hash.update(text.data(), text.size());
    return hash.hex();
}

std::string sha256_file(const std::string& path) {
    const InputFile file(path);
    Sha256 hash;
    std::vector<char> buffer(1 << 20);
    for (int64_t at = 0; at < file.size(); at += int64_t(buffer.size())) {
        const size_t bytes = size_t(std::min(int64_t(buffer.size()), file.size() - at));
        file.read(at, buffer.data(), bytes);
        hash.update(buffer.data(), bytes);
    }
    return hash.hex();
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}
