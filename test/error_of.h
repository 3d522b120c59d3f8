// The message of the Error that a function throws, for tests of what bad input gets.
#pragma once

#include <string>

#include "runtime/error.h"

template <class Function>
std::string error_of(const Function& function) {
    try {
        function();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}
