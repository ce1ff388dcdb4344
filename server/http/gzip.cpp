#include "server/http/gzip.h"

#include <zlib.h>

#include "base/check.h"

namespace tristill::http {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;
constexpr size_t kPart = 64 << 10;

// Ends the state whatever happens.
struct Inflater {
  z_stream state{};
  Inflater() { CHECK(inflateInit2(&state, kGzipOnly) == Z_OK); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&state); }
};

}  // namespace

Result<std::string> gunzip(std::string_view bytes, size_t max_bytes) {
  CHECK(bytes.size() <= UINT32_MAX);
  Inflater inflater;
  z_stream& state = inflater.state;
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  state.avail_in = static_cast<uInt>(bytes.size());
  std::string plain;
  std::string part(kPart, '\0');  // apart, so that members of nothing cost nothing
  for (;;) {
    state.next_out = reinterpret_cast<Bytef*>(part.data());
    state.avail_out = static_cast<uInt>(part.size());
    const int result = inflate(&state, Z_NO_FLUSH);
    plain.append(part, 0, part.size() - state.avail_out);
    if (plain.size() > max_bytes) {
      return Error{ErrorCode::resource_exhausted,
                   "the body is larger than " + std::to_string(max_bytes) + " bytes", ""};
    }
    if (result == Z_STREAM_END && state.avail_in == 0) return plain;
    const bool goes_on = result == Z_OK || (result == Z_STREAM_END && inflateReset(&state) == Z_OK);
    if (!goes_on) return Error{ErrorCode::corrupt, "the body is no whole gzip", ""};
  }
}

}  // namespace tristill::http
