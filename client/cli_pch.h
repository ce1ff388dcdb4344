// Precompiled once for the client: the headers of its commands' flags and answers cost each file
// a third of its compile time otherwise.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>
