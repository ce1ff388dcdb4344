// The table of inner loops, one implementation an ISA; scalar.cpp is the specification and every
// other one equals it bit for bit, tails and extremes included. Pure functions, any thread.
// No library header is included by an ISA file, and the functions here are inlined everywhere: an
// ISA file's flags must not leak into code that others share.
//
// Floating-point sums: 16 lanes, element i goes to lane i % 16, in index order; lanes are added
// as a tree: l + (l+8), l + (l+4), l + (l+2), l + (l+1). This order is model/reduce.h's, written
// here once more for the ISA files. A product that is added to something is fused with the
// addition (one rounding: FMA) wherever this file writes fma, and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tristill::kernels {

// Weights in panels of 32 rows, the same bytes for every ISA. A panel is a run of steps, a step
// two halves of 64 bytes: half h holds 4 bytes of each of the rows 16h .. 16h + 15, in this order.
// A byte holds n weights; weight k of byte j belongs to column 4 (n step + k) + j.
//   ternary: n = 4, bits 2k, 2k + 1 are T + 1 (a fourth code, 3, stands for 2)
//   dense:   n = 5, the byte is the sum of (T + 1) 3^k: 1.6 bits a weight, for models that memory
//            holds up; costs more to unpack
//   int8:    n = 1
//   int4:    n = 2, bits 4k .. 4k + 3 are the weight + 8
//   sliced:  int8 weights in three matrices, weight + 128 = 16 h + 4 m + l: int4 panels of h - 8,
//            ternary ones of m - 1 and of l - 1; whole steps of 16 columns
// Rows and columns beyond the matrix are zero weights.
enum class PanelKind { ternary, dense, int8, int4, sliced };
constexpr size_t kPanelRows = 32;
constexpr size_t kHalfRows = 16;
constexpr size_t kStepBytes = 128;

[[gnu::always_inline]] constexpr size_t step_columns(PanelKind kind) {
  constexpr size_t kColumns[] = {16, 20, 4, 8, 16};
  return kColumns[static_cast<size_t>(kind)];
}
// One scale a matrix (stored a half panel), or one a row.
[[gnu::always_inline]] constexpr bool scaled_by_row(PanelKind kind) {
  return kind != PanelKind::ternary && kind != PanelKind::dense;
}
// Whole steps of every kind.
[[gnu::always_inline]] constexpr size_t padded_columns(size_t cols) {
  return (cols + 79) / 80 * 80;
}
[[gnu::always_inline]] constexpr size_t panel_steps(PanelKind kind, size_t cols) {
  return (cols + step_columns(kind) - 1) / step_columns(kind);
}
// Of the first matrix, when sliced.
[[gnu::always_inline]] constexpr size_t panel_bytes(PanelKind kind, size_t cols) {
  return panel_steps(kind, cols) * kStepBytes * (kind == PanelKind::sliced ? 2 : 1);
}

// Quantised tokens that meet the weights together: [padded_columns(cols) / 4][n_tokens][4] bytes,
// zeros beyond cols. Its width is n_tokens: one token alone is a plain row.
struct TokenTile {
  const int8_t* q;
  const float* scale;  // [n_tokens]
  const int32_t* sum;  // [n_tokens], sum of the token's q
  size_t n_tokens;     // 1 .. KernelTable::tile_tokens
};

// What becomes of the exact sums acc[t, r] of a linear layer, y = float(acc) * (scale * s_t), and
// y = float(acc) * (scale * s_t) + bias[r], rounded after the product too, where there is a bias:
enum class Finish {
  sums,              // int32 out[t, r] = acc
  store,             // out[t, r] = y
  add,               // out[t, r] = out[t, r] + y
  swiglu,  // out[t, i] = silu(g) * u: rows of even halves are gates g, of odd ones ups u
  squared_relu_glu,  // out[t, i] = relu(g)^2 * u
};

// Panels panel_begin .. panel_end of a linear layer, times a tile of tokens.
struct LinearCall {
  TokenTile x;
  PanelKind kind;
  const uint8_t* panels;  // the first panel of the matrix
  const uint8_t* middle = nullptr;  // the matrices of m and l, when sliced
  const uint8_t* low = nullptr;
  size_t cols;
  size_t panel_begin, panel_end;
  // [panels * 32] when scaled_by_row(kind), else one a half: [panels * 2].
  const float* scale;
  const float* bias = nullptr;  // [panels * 32]; null: none
  Finish finish;
  // [n_tokens, ld_out], whole panels: 32 columns each, 16 with the last two finishes. int32 for
  // sums, fp32 otherwise.
  void* out;
  size_t ld_out;
};

// Keys and values of one head in blocks of 16 positions. IEEE half precision, or int8 with one
// fp32 scale a position.
enum class KvFormat { fp16, int8 };
constexpr size_t kKvPositions = 16;

// fp16: keys [head_dim][16], values [16][whole_vectors(head_dim)] halves.
// int8: keys [ceil(head_dim / 4)][16][4], values [16][whole_vectors(head_dim)] bytes, then key
//       scales [16] and value scales [16] fp32.
// Every part is a multiple of 32 bytes.
[[gnu::always_inline]] constexpr size_t whole_vectors(size_t n) { return (n + 15) / 16 * 16; }
[[gnu::always_inline]] constexpr size_t kv_keys_bytes(KvFormat format, size_t head_dim) {
  return format == KvFormat::fp16 ? head_dim * 32 : (head_dim + 3) / 4 * 64;
}
[[gnu::always_inline]] constexpr size_t kv_values_bytes(KvFormat format, size_t head_dim) {
  return 16 * whole_vectors(head_dim) * (format == KvFormat::fp16 ? 2 : 1);
}
[[gnu::always_inline]] constexpr size_t kv_head_bytes(KvFormat format, size_t head_dim) {
  return kv_keys_bytes(format, head_dim) + kv_values_bytes(format, head_dim) +
         (format == KvFormat::fp16 ? 0 : 128);
}

// One head of a sequence: block b lies at base + blocks[b] * stride.
struct KvHead {
  KvFormat format;
  uint8_t* base;
  size_t stride;
  const uint32_t* blocks;
  size_t head_dim;
};

// Queries of one sequence that share a head's keys and values.
struct AttentionCall {
  KvHead kv;
  const float* const* q;  // [n_queries] rows of head_dim, scaled by 1 / sqrt(head_dim)
  float* const* out;  // [n_queries] rows of head_dim
  const uint32_t* length;  // [n_queries] positions it sees, at least 1; never falling
  size_t n_queries;
  float* scores;  // scratch: 8 * (positions + head_dim, each rounded up to 16)
  uint32_t window = 0;  // the last positions that a query sees of its length; 0: all
  float softcap = 0.0F;  // of the scores; 0: none
};
// The first position that a query of this length sees.
[[gnu::always_inline]] constexpr uint32_t first_seen(uint32_t length, uint32_t window) {
  return window == 0 || length <= window ? 0 : length - window;
}

// How great rows of a matrix can be of which a part of the bits is known: the exact sum of row r is
// factor * sum[r] + open, give or take radius[r] * norm.
struct SumBound {
  float factor;
  float open;
  const float* radius;
  float norm;
};

struct KernelTable {
  // "scalar", "avx2", "avxvnni", "avx512vnni", "avx512vbmi", "neon" or "neoni8mm".
  const char* isa;
  size_t tile_tokens;
  bool unpacks_dense;  // fast enough that the dense kind pays where memory is the limit

  // x [tokens, cols] fp32 -> q [tokens, cols] int8, scale [tokens] = absmax / limit,
  // sum [tokens] = sum of the token's q. q = clip(round_half_even(x / scale), -limit, limit), the
  // division being x * (limit / absmax) in fp32; a token of zeros, or of numbers so small that
  // limit / absmax overflows (127: below 3.8e-37), has scale 0 and q 0. limit is 127 or 7 (A4).
  void (*quantize_tokens)(const float* x, size_t tokens, size_t cols, float limit, int8_t* q,
                          float* scale, int32_t* sum);

  // The same for a tile of tokens, after rms_norm with gain unless that is null; q is a
  // TokenTile's. x of token t is at x + t * ld_x; scratch holds cols floats.
  void (*quantize_tile)(const float* x, size_t ld_x, const float* gain, float eps, size_t n_tokens,
                        size_t cols, float limit, int8_t* q, float* scale, int32_t* sum,
                        float* scratch);

  void (*linear)(const LinearCall& call);

  // The greatest of most_r * scale[r], r < n; most_r is what the exact sum is at most, whatever
  // rounding does: mean = fma(sum[r], factor, open), fma(radius[r], norm, mean) +
  // fma(|mean|, 1e-6, 1). -infinity for n = 0; NaN never.
  float (*greatest_bound)(const int32_t* sum, const SumBound& bound, const float* scale, size_t n);

  // acc[t, r - row_begin] = sum_c q[t, c] * w[r, c] for rows row_begin .. row_end, exact; all in
  // plain rows. The trainer's product.
  //   q [tokens, cols] int8;  acc leading dimension ld_acc.
  struct Int8View {
    const int8_t* weights;  // [rows, cols]
    const int32_t* row_sum;  // [rows], sum of each row (unsigned x signed dot products need it)
    size_t rows;
    size_t cols;  // any
  };
  void (*int8_gemm)(const int8_t* q, size_t tokens, const Int8View& w, size_t row_begin,
                    size_t row_end, int32_t* acc, size_t ld_acc);

  // Puts one position's key and value [head_dim] into the cache. int8: as quantize_tokens, limit
  // 127.
  void (*store_kv)(const KvHead& kv, size_t position, const float* key, const float* value);

  // out_i = sum_p w_p v_p / sum_p w_p, p < length[i], with w_p = exp(s_p - max s); w_p = 0 for
  // positions outside the window. With a softcap c, s_p is first made c tanh(s_p / c) =
  // c - 2 c / (1 + exp(s_p * (2 / c))), exp as in exp_sum.
  //   fp16: s_p = q . k_p, one chain of fma over d from 0 upwards
  //   int8: s_p = float(exact sum of q8 . k8) * (scale_q * scale_p), q quantised as a token
  //   sum of w in the one order; out an fma chain over p from 0 upwards of w_p (int8: times
  //   scale_p, rounded first) and v_p, then times 1 / sum.
  void (*attend)(const AttentionCall& call);

  // y = x * gain / sqrt(mean(x^2) + eps), rows of cols; x and y may be the same memory.
  void (*rms_norm)(const float* x, const float* gain, float eps, float* y, size_t rows,
                   size_t cols);

  // sum_i a[i] * b[i] in the order above, fma in each lane.
  float (*dot)(const float* a, const float* b, size_t n);

  // Rotates the pairs (x[i], x[i + half]), i < half, by the angles with these cosines and sines:
  // x[i] = fma(x[i], c, -(x[i + half] * s)), x[i + half] = fma(x[i + half], c, x[i] * s).
  void (*rotate_half)(float* x, const float* cosine, const float* sine, size_t half);

  // x[i] = exp(x[i] - max) with the polynomial of scalar.cpp, 0 below e^-87; returns the sum in the
  // order above.
  float (*exp_sum)(float* x, float max, size_t n);

  // out[i] = act(gate[i]) * up[i]
  void (*swiglu)(const float* gate, const float* up, float* out, size_t n);
  void (*squared_relu_glu)(const float* gate, const float* up, float* out, size_t n);
};
using Int8View = KernelTable::Int8View;

extern const KernelTable kScalar;
#if defined(__x86_64__)
extern const KernelTable kAvx2;
extern const KernelTable kAvxVnni;
extern const KernelTable kAvx512Vnni;
extern const KernelTable kAvx512Vbmi;
#elif defined(__aarch64__)
extern const KernelTable kNeon;
extern const KernelTable kNeonI8mm;
#endif

// The best table this CPU runs, or the one named by TRISTILL_ISA / force_isa.
const KernelTable& best();

// Forces a table by name ("auto" for the best); false when unknown or not runnable here. Call
// before the first model is loaded.
bool force_isa(const char* name);

// Every table this CPU can run, scalar first; ends with nullptr.
const KernelTable* const* runnable();

}  // namespace tristill::kernels
