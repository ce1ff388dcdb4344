#include "train/convert/tensor_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tristill::convert {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<Pair, 13> kInLayer = {{
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"self_attn.attn_sub_norm.weight", "attn_sub_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.ffn_sub_norm.weight", "ffn_sub_norm.weight"},
}};

constexpr std::array<Pair, 3> kOutside = {{
    {"embed_tokens.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
}};

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 6 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::optional<std::string> our_name(std::string_view theirs) {
  // What torch.compile, data parallelism and the class around the decoder put before, in any order.
  constexpr std::array<std::string_view, 3> kAround = {"_orig_mod.", "module.", "model."};
  for (;;) {
    const auto prefix =
        std::ranges::find_if(kAround, [&](std::string_view p) { return theirs.starts_with(p); });
    if (prefix == kAround.end()) break;
    theirs.remove_prefix(prefix->size());
  }
  for (const auto& [from, to] : kOutside) {
    if (theirs == from) return std::string(to);
  }
  constexpr std::string_view kLayers = "layers.";
  if (!theirs.starts_with(kLayers)) return std::nullopt;
  theirs.remove_prefix(kLayers.size());
  const size_t dot = theirs.find('.');
  if (dot == std::string_view::npos || !is_number(theirs.substr(0, dot))) return std::nullopt;
  for (const auto& [from, to] : kInLayer) {
    if (theirs.substr(dot + 1) == from) {
      return "blk." + std::string(theirs.substr(0, dot)) + "." + std::string(to);
    }
  }
  return std::nullopt;
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& c) {
  const uint64_t d = c.d_model, f = c.d_ff, q = c.q_dim(), kv = c.kv_dim(), v = c.vocab_size;
  std::vector<ExpectedTensor> out = {{"token_embd.weight", {v, d}}, {"output_norm.weight", {d}}};
  if (!c.tied_embeddings) out.push_back({"output.weight", {v, d}});
  for (uint32_t layer = 0; layer < c.n_layers; ++layer) {
    const auto add = [&](const char* name, std::vector<uint64_t> dims) {
      out.push_back({"blk." + std::to_string(layer) + "." + name, std::move(dims)});
    };
    add("attn_norm.weight", {d});
    add("ffn_norm.weight", {d});
    add("attn_q.weight", {q, d});
    add("attn_k.weight", {kv, d});
    add("attn_v.weight", {kv, d});
    add("attn_output.weight", {d, q});
    add("ffn_gate.weight", {f, d});
    add("ffn_up.weight", {f, d});
    add("ffn_down.weight", {d, f});
    if (c.qk_norm) add("attn_q_norm.weight", {c.head_dim});
    if (c.qk_norm) add("attn_k_norm.weight", {c.head_dim});
    if (c.sub_norm) add("attn_sub_norm.weight", {q});
    if (c.sub_norm) add("ffn_sub_norm.weight", {f});
  }
  return out;
}

}  // namespace tristill::convert
