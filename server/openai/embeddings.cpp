#include "server/openai/embeddings.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "server/openai/fields.h"
#include "server/openai/refusal.h"
#include "server/openai/respond.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

struct Shape {
  bool base64 = false;
  std::optional<uint32_t> dimensions;  // only so many of the first
};

// Of length one, so that a dot product is the cosine.
std::vector<float> normalised(const std::vector<float>& embedding, const Shape& shape) {
  std::vector<float> out = embedding;
  if (shape.dimensions && *shape.dimensions < out.size()) out.resize(*shape.dimensions);
  double squares = 0;
  for (const float x : out) squares += static_cast<double>(x) * static_cast<double>(x);
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  for (float& x : out) x = static_cast<float>(static_cast<double>(x) * scale);
  return out;
}

class Embeddings final : public Dialect {
 public:
  explicit Embeddings(const Shape& shape) : shape_(shape) {}

  json answer(Completion& completion) override {
    json data = json::array();
    for (const Choice& choice : completion.choices()) {
      const auto vector = normalised(choice.embedding(), shape_);
      data.push_back(
          {{"object", "embedding"},
           {"index", choice.index()},
           {"embedding",
            shape_.base64 ? json(to_base64(std::as_bytes(std::span(vector)))) : json(vector)}});
    }
    return {{"object", "list"},
            {"data", std::move(data)},
            {"model", completion.served().name},
            {"usage",
             {{"prompt_tokens", completion.prompt_tokens()},
              {"total_tokens", completion.prompt_tokens()}}}};
  }

  std::vector<json> events(Completion&, Choice&) override { return {}; }

 private:
  const Shape shape_;
};

Result<CompletionRequest> parse(std::string_view text, Shape& shape) {
  const auto body = parse_object(text);
  if (!body) return body.error();
  Fields fields(*body);
  CompletionRequest request;
  request.embed = true;
  request.max_tokens = 0;
  request.sampling.temperature = 0;
  if (fields.find("input") == nullptr) {
    return Error{ErrorCode::invalid_argument, "input is missing; send a text or a list of texts",
                 "input"};
  }
  read_prompts(fields, "input", request.prompts);
  fields.text("model", [&](std::string name) { request.model = std::move(name); });
  fields.integer("dimensions", 1, 1 << 20, shape.dimensions);
  fields.text("encoding_format", [&](const std::string& format) {
    shape.base64 = format == "base64";
    if (format != "base64" && format != "float") {
      fields.refuse("encoding_format", format, "float or base64");
    }
  });
  fields.text("user", [](const std::string&) {});
  if (auto done = finish_reading(fields, request); !done) return done.error();
  return request;
}

}  // namespace

void add_embedding_routes(http::Router& router, Services& services) {
  for (const char* path : {"/v1/embeddings", "/embeddings"}) {
    router.add("POST", path, [&services](const http::Request& request) {
      if (auto too_large = refusal_of_size(request)) return *too_large;
      Shape shape;
      auto parsed = parse(request.body, shape);
      if (!parsed) return refusal_of_body(parsed.error());
      auto served = services.registry.find(parsed->model);
      if (!served) return refusal(served.error());
      return respond(request, std::move(*parsed), *served, std::make_unique<Embeddings>(shape),
                     services);
    });
  }
}

}  // namespace tristill::openai
