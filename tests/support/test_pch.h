// Precompiled once for a test program: what almost all of its files include costs each one
// a third of its compile time otherwise.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
