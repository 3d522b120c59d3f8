// cuBLASLt's objects, each with an owner. The library creates and destroys them, since their size is the business of
// the library that was loaded, which may be another than the headers are of.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <type_traits>

namespace kernels::cuda {

// What an owner does with its object in the end.
template <auto destroy>
struct Destroy {
    void operator()(auto* object) const { destroy(object); }  // a status would help nobody
};
using LtHandle = std::unique_ptr<cublasLtContext, Destroy<cublasLtDestroy>>;
using LtOperation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using LtLayout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using LtPreference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

// create(layout, cublasLtMatrixLayoutCreate, ARGUMENTS): the owner gets what the function creates.
template <class Owner, class... Parameters>
cublasStatus_t create(Owner& owner, cublasStatus_t (*make)(typename Owner::pointer*, Parameters...),
                      std::type_identity_t<Parameters>... arguments) {
    typename Owner::pointer object = nullptr;
    const cublasStatus_t status = make(&object, arguments...);
    owner.reset(object);
    return status;
}

// These set an attribute of an object.
template <class T>
cublasStatus_t set(const LtOperation& operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value));
}
template <class T>
cublasStatus_t set(const LtLayout& layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
    return cublasLtMatrixLayoutSetAttribute(layout.get(), attribute, &value, sizeof(value));
}
template <class T>
cublasStatus_t set(const LtPreference& preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    return cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value));
}

}  // namespace kernels::cuda
