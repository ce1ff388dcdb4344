#include "server/openai/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "base/check.h"
#include "model/grammar/pattern.h"
#include "server/openai/json_text.h"
#include "server/openai/schema_parts.h"

namespace tristill::openai {
namespace {

using Expr = GrammarBuilder::Expr;
using RuleId = GrammarBuilder::RuleId;

constexpr size_t kMaxMergedNodes = 100'000;  // in all merged schemas together
constexpr size_t kMaxVisits = 50'000;
constexpr int kMaxNesting = 60;  // of schemas that are read within each other

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kFormats = {{
    {"date",
     "^(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3["
     "01])"
     "|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))$"},
    {"time",
     "^(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)$"},
    {"date-time",
     "^(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3["
     "01])"
     "|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))T(?:[01]\\d|2[0-3]):[0-5]\\d"
     ":[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)$"},
    {"duration",
     "^P(?:\\d{1,4}D(?:T\\d{1,4}H)?|T\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?"
     "|T\\d{1,4}M(?:\\d{1,4}S)?|T\\d{1,4}S|\\d{1,4}[WMY])$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"email",
     "^[A-Za-z0-9_%+-]{1,32}(?:\\.[A-Za-z0-9_%+-]{1,32})?@[A-Za-z0-9]{1,63}"
     "(?:\\.[A-Za-z0-9]{1,63}){0,2}\\.[A-Za-z]{2,24}$"},
    {"hostname", "^[A-Za-z0-9]{1,63}(?:\\.[A-Za-z0-9]{1,63}){0,3}$"},
    {"ipv4",
     "^(?:(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)$"},
    {"ipv6", "^(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}$"},
}};

class SchemaReader {
 public:
  SchemaReader(const Schema& document, const std::string& path)
      : document_(document), path_(path), text_(builder_) {}

  Result<std::shared_ptr<const Grammar>> read();

 private:
  struct Place {  // a schema, and where it stands in the request
    const Schema& schema;
    std::string path;
    const Schema* find(const char* keyword) const {
      const auto found = schema.find(keyword);
      return found == schema.end() ? nullptr : &*found;
    }
    std::string at(std::string_view keyword) const { return path + "." + std::string(keyword); }
  };

  Expr refuse(const std::string& path, const std::string& reason);
  bool check_size(const Schema& schema, const std::string& path);
  Expr value(const Place& place);
  Expr value_of_object(const Place& place);
  bool check_keywords(const Place& place);
  Expr reference(const Place& place);
  Expr all_of(const Place& place);
  Expr any_of(const Place& place, const char* keyword);
  Expr both(const Schema& a, const Schema& b, const std::string& path);
  Expr values(const Place& place);
  Expr of_type(const Place& place, const std::string& type);
  std::vector<std::string> types(const Place& place);
  Expr number(const Place& place, bool whole);
  std::optional<NumberBound> bound(const Place& place, bool lower, bool whole);
  Expr string(const Place& place);
  Expr matching(const Place& place, std::string_view keyword, std::string_view pattern);
  Expr array(const Place& place);
  Expr tuple(const Place& place, const Schema& prefix, uint32_t least,
             std::optional<uint32_t> most);
  Expr object(const Place& place);
  Expr listed(const Place& place, const std::vector<std::string>& names,
              const std::set<std::string>& required, std::optional<Expr> extra);
  std::set<std::string> required_names(const Place& place);
  std::optional<uint32_t> count(const Place& place, const char* keyword);
  bool check_counts(const Place& place, const char* low, const char* high);

  const Schema& document_;
  const std::string path_;
  GrammarBuilder builder_;
  JsonText text_;
  std::map<std::string, RuleId> rules_;  // by reference
  std::vector<std::string> unread_;      // references
  size_t merged_nodes_ = 0;
  size_t visits_ = 0;
  size_t comparisons_ = 200'000;  // that are left
  int depth_ = 0;
};

Result<std::shared_ptr<const Grammar>> SchemaReader::read() {
  const RuleId root = builder_.rule("the schema");
  if (check_size(document_, path_)) builder_.define(root, value({document_, path_}));
  while (!unread_.empty() && !builder_.failed()) {
    const std::string reference = std::move(unread_.back());
    unread_.pop_back();
    const Schema* target = find_reference(document_, reference);
    std::string path = path_ + reference.substr(1);
    std::ranges::replace(path, '/', '.');
    builder_.define(rules_.at(reference), value({*target, path}));
  }
  auto grammar = builder_.build(root);
  if (grammar) return grammar;
  Error error = grammar.error();
  if (error.param.empty()) {  // the builder's own
    error.message = path_ + " cannot be kept: " + error.message;
    error.param = path_;
    error.code = ErrorCode::invalid_argument;
  }
  return error;
}

Expr SchemaReader::refuse(const std::string& path, const std::string& reason) {
  // A path may hold names of any length.
  const std::string shown = path.size() <= 300 ? path : path.substr(0, 297) + "...";
  builder_.fail({ErrorCode::invalid_argument, shown + " " + reason, shown});
  return builder_.empty();
}

bool SchemaReader::check_size(const Schema& schema, const std::string& path) {
  if (count_nodes(schema) > kMaxSchemaNodes) {
    refuse(path, "has more than " + std::to_string(kMaxSchemaNodes) + " elements");
  }
  return !builder_.failed();
}

Expr SchemaReader::value(const Place& place) {
  if (builder_.failed()) return builder_.empty();
  if (++visits_ > kMaxVisits || depth_ > kMaxNesting) {
    return refuse(place.path, "makes the schema too large or too deep");
  }
  if (place.schema == true) return text_.any_value();
  if (place.schema == false) return builder_.nothing();
  if (!place.schema.is_object()) return refuse(place.path, "is no schema; accepted is an object");
  ++depth_;
  const Expr expr = value_of_object(place);
  --depth_;
  return expr;
}

Expr SchemaReader::value_of_object(const Place& place) {
  if (!check_keywords(place)) return builder_.empty();
  if (place.find("$ref") != nullptr) return reference(place);
  if (place.find("allOf") != nullptr) return all_of(place);
  if (place.find("anyOf") != nullptr) return any_of(place, "anyOf");
  if (place.find("oneOf") != nullptr) return any_of(place, "oneOf");
  if (place.find("const") != nullptr || place.find("enum") != nullptr) return values(place);
  std::vector<Expr> ways;
  for (const std::string& type : types(place)) ways.push_back(of_type(place, type));
  return builder_.choice(std::move(ways));
}

// What is kept, and what makes no difference; all else that restricts is refused.
bool SchemaReader::check_keywords(const Place& place) {
  constexpr std::array kKept = {"$ref",          "additionalProperties",
                                "allOf",         "anyOf",
                                "const",         "enum",
                                "format",        "exclusiveMaximum",
                                "items",         "maxItems",
                                "maxLength",     "maxProperties",
                                "maximum",       "exclusiveMinimum",
                                "minItems",      "minLength",
                                "minProperties", "minimum",
                                "multipleOf",    "oneOf",
                                "pattern",       "prefixItems",
                                "properties",    "required",
                                "type"};
  constexpr std::array kHarmlessWhenTrue = {"unevaluatedProperties", "unevaluatedItems"};
  for (const auto& [keyword, schema] : place.schema.items()) {
    if (is_annotation(keyword) || std::ranges::find(kKept, keyword) != kKept.end()) continue;
    if (keyword == "uniqueItems" && schema == false) continue;
    // What is not listed never comes: closing a schema to it changes nothing.
    if (schema.is_boolean() &&
        std::ranges::find(kHarmlessWhenTrue, keyword) != kHarmlessWhenTrue.end()) {
      continue;
    }
    refuse(place.at(keyword), "is not supported: the output could not be held to it");
    return false;
  }
  return true;
}

Expr SchemaReader::reference(const Place& place) {
  const Schema& reference = *place.find("$ref");
  const Schema* target = nullptr;
  if (reference.is_string()) {
    target = find_reference(document_, reference.get_ref<const std::string&>());
  }
  if (target == nullptr) {
    return refuse(place.at("$ref"),
                  "leads nowhere; accepted is a place in this schema: #/$defs/...");
  }
  Schema siblings = Schema::object();
  for (const auto& [keyword, schema] : place.schema.items()) {
    if (keyword != "$ref" && !is_annotation(keyword)) siblings[keyword] = schema;
  }
  if (!siblings.empty()) return both(*target, siblings, place.path);
  const auto& name = reference.get_ref<const std::string&>();
  const auto known = rules_.find(name);
  if (known != rules_.end()) return builder_.call(known->second);
  unread_.push_back(name);
  return builder_.call(rules_[name] = builder_.rule(name));
}

// One schema of both, read in the place of the one.
Expr SchemaReader::both(const Schema& a, const Schema& b, const std::string& path) {
  Schema parts[] = {a, b};
  for (Schema& part : parts) {
    for (int i = 0; part.is_object() && part.contains("$ref") && i < kMaxNesting; ++i) {
      const Schema& reference = part["$ref"];
      const Schema* found = reference.is_string()
                                ? find_reference(document_, reference.get_ref<const std::string&>())
                                : nullptr;
      if (found == nullptr) return refuse(path + ".$ref", "leads nowhere");
      const Schema target = *found;
      part.erase("$ref");
      merged_nodes_ += count_nodes(part) + count_nodes(target);
      if (merged_nodes_ > kMaxMergedNodes) return refuse(path, "makes the schema too large");
      auto merged = merge(target, part);
      if (!merged) return refuse(path, merged.error().message + ": " + merged.error().param);
      part = std::move(*merged);
    }
  }
  merged_nodes_ += count_nodes(parts[0]) + count_nodes(parts[1]);
  if (merged_nodes_ > kMaxMergedNodes) return refuse(path, "makes the schema too large");
  const auto merged = merge(parts[0], parts[1]);
  if (!merged) {
    return refuse(path + "." + merged.error().param, merged.error().message);
  }
  return value({*merged, path});
}

Schema without(const Schema& schema, const std::string& keyword) {
  Schema rest = Schema::object();
  for (const auto& [name, value] : schema.items()) {
    if (name != keyword) rest[name] = value;
  }
  return rest;
}

// All of one, with what stands beside them.
Expr SchemaReader::all_of(const Place& place) {
  const Schema& parts = *place.find("allOf");
  if (!parts.is_array() || parts.empty()) return refuse(place.at("allOf"), "is no list of schemas");
  Schema rest = without(place.schema, "allOf");
  if (parts.size() == 1) return both(rest, parts[0], place.path);
  Schema others = Schema::array();
  for (size_t i = 1; i < parts.size(); ++i) others.push_back(parts[i]);
  merged_nodes_ += count_nodes(place.schema);
  if (merged_nodes_ > kMaxMergedNodes) return refuse(place.path, "makes the schema too large");
  rest["allOf"] = std::move(others);
  return both(rest, parts[0], place.path);
}

Expr SchemaReader::any_of(const Place& place, const char* keyword) {
  const Schema& parts = *place.find(keyword);
  if (!parts.is_array() || parts.empty()) return refuse(place.at(keyword), "is no list of schemas");
  const bool one = keyword == std::string_view("oneOf");
  merged_nodes_ += one ? parts.size() * parts.size() : parts.size();
  if (merged_nodes_ > kMaxMergedNodes) return refuse(place.at(keyword), "has too many schemas");
  for (size_t i = 0; one && i < parts.size(); ++i) {
    for (size_t j = i + 1; j < parts.size(); ++j) {
      if (are_disjoint(document_, parts[i], parts[j], comparisons_)) continue;
      return refuse(place.at(keyword), "could be matched by its schemas " + std::to_string(i) +
                                           " and " + std::to_string(j) +
                                           " at once; accepted is anyOf, or schemas that differ by "
                                           "type or by a required property of fixed value");
    }
  }
  const Schema rest = without(place.schema, keyword);
  const bool alone =
      std::ranges::all_of(rest.items(), [](const auto& item) { return is_annotation(item.key()); });
  std::vector<Expr> ways;
  for (size_t i = 0; i < parts.size() && !builder_.failed(); ++i) {
    const std::string path = place.at(keyword) + "[" + std::to_string(i) + "]";
    ways.push_back(alone ? value({parts[i], path}) : both(rest, parts[i], path));
  }
  return builder_.choice(std::move(ways));
}

// const, enum: spelled in the one way that JSON is dumped, which is JSON too.
Expr SchemaReader::values(const Place& place) {
  const Schema* only = place.find("const");
  const Schema* list = place.find("enum");
  if (list != nullptr && !list->is_array()) return refuse(place.at("enum"), "is no list of values");
  for (const auto& [keyword, schema] : place.schema.items()) {
    if (is_annotation(keyword) || keyword == "const" || keyword == "enum" || keyword == "type") {
      continue;
    }
    return refuse(place.at(keyword), "stands beside enum or const; accepted beside them is type");
  }
  const Schema one = only != nullptr ? Schema::array({*only}) : Schema::array();
  const auto allowed =
      place.find("type") == nullptr ? std::nullopt : types_of({{"type", *place.find("type")}});
  std::vector<std::string> texts;
  for (const Schema& given : only != nullptr ? one : *list) {
    const bool listed =
        only == nullptr || list == nullptr || std::ranges::find(*list, given) != list->end();
    if (!listed || (allowed && !allowed->contains(type_of(given)))) continue;
    texts.push_back(given.dump());
  }
  return builder_.one_of(std::move(texts));
}

std::vector<std::string> SchemaReader::types(const Place& place) {
  constexpr std::array kTypes = {"object",  "array",   "string", "number",
                                 "integer", "boolean", "null"};
  const Schema* type = place.find("type");
  if (type == nullptr) {  // keywords of one type let all others be; output keeps to that type
    for (const char* keyword :
         {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}) {
      if (place.find(keyword) != nullptr) return {"object"};
    }
    for (const char* keyword : {"items", "prefixItems", "minItems", "maxItems"}) {
      if (place.find(keyword) != nullptr) return {"array"};
    }
    for (const char* keyword : {"pattern", "format", "minLength", "maxLength"}) {
      if (place.find(keyword) != nullptr) return {"string"};
    }
    for (const char* keyword :
         {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}) {
      if (place.find(keyword) != nullptr) return {"number"};
    }
    return {"any"};
  }
  std::vector<std::string> names;
  const Schema list = type->is_array() ? *type : Schema::array({*type});
  for (const Schema& name : list) {
    const bool known = name.is_string() && std::ranges::find(kTypes, name) != kTypes.end();
    if (!known) {
      refuse(place.at("type"),
             "is no type, nor a list of types; accepted are object, array, "
             "string, number, integer, boolean and null");
      return {};
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

Expr SchemaReader::of_type(const Place& place, const std::string& type) {
  if (type == "object") return object(place);
  if (type == "array") return array(place);
  if (type == "string") return string(place);
  if (type == "number") return number(place, false);
  if (type == "integer") return number(place, true);
  if (type == "boolean") return builder_.one_of({"true", "false"});
  if (type == "null") return builder_.literal("null");
  return text_.any_value();
}

// The nearest number that may come, of minimum and exclusiveMinimum (or of the maxima). Whole
// numbers stop at the next one; others need whole bounds.
std::optional<NumberBound> SchemaReader::bound(const Place& place, bool lower, bool whole) {
  std::optional<NumberBound> nearest;
  for (const bool excluded : {false, true}) {
    const char* keyword = lower      ? excluded ? "exclusiveMinimum" : "minimum"
                          : excluded ? "exclusiveMaximum"
                                     : "maximum";
    const Schema* given = place.find(keyword);
    if (given == nullptr) continue;
    if (!given->is_number()) {
      refuse(place.at(keyword), "is no number");
      return {};
    }
    const double number = given->get<double>();
    const double most = whole ? 1e18 : static_cast<double>(NumberBound::kMost);
    if (whole && std::abs(number) >= most && (number < 0) == lower) continue;  // out of reach
    const bool too_fine =
        excluded && std::abs(number) > static_cast<double>(NumberBound::kMostExcluded);
    if (std::abs(number) >= most || (!whole && (number != std::floor(number) || too_fine))) {
      refuse(place.at(keyword),
             "cannot be kept; accepted is a whole number of at most 15 digits, "
             "9 where it is exclusive");
      return {};
    }
    // 18 digits of an integer do not fit a double.
    const bool exact = given->is_number_integer();
    NumberBound bound{.excluded = excluded && !whole};
    bound.value = exact ? given->get<int64_t>()
                        : static_cast<int64_t>(lower ? std::ceil(number) : std::floor(number));
    const bool itself = exact || number == std::floor(number);
    if (whole && excluded && itself) bound.value += lower ? 1 : -1;
    const bool nearer = !nearest ||
                        (lower ? bound.value > nearest->value : bound.value < nearest->value) ||
                        (bound.value == nearest->value && bound.excluded);
    if (nearer) nearest = bound;
  }
  return nearest;
}

Expr SchemaReader::number(const Place& place, bool whole) {
  if (const Schema* step = place.find("multipleOf")) {
    if (*step != 1) return refuse(place.at("multipleOf"), "cannot be kept; accepted is 1");
    whole = true;
  }
  const auto low = bound(place, true, whole);
  const auto high = bound(place, false, whole);
  if (!low && !high) return whole ? text_.integer() : text_.number();
  const bool empty = low && high &&
                     (low->value > high->value ||
                      (low->value == high->value && (low->excluded || high->excluded)));
  if (empty) return builder_.nothing();
  if (!whole) return text_.number_between(low, high);
  const auto value_of = [](const auto& end) {
    return end ? std::optional<int64_t>(end->value) : std::nullopt;
  };
  return text_.integer_between(value_of(low), value_of(high));
}

std::optional<uint32_t> SchemaReader::count(const Place& place, const char* keyword) {
  const Schema* given = place.find(keyword);
  if (given == nullptr) return std::nullopt;
  const bool whole = given->is_number() && given->get<double>() == std::floor(given->get<double>());
  if (!whole || given->get<double>() < 0 || given->get<double>() > GrammarBuilder::kMaxRepeats) {
    refuse(place.at(keyword), "is no count; accepted is an integer from 0 to " +
                                  std::to_string(GrammarBuilder::kMaxRepeats));
    return std::nullopt;
  }
  return given->get<uint32_t>();
}

// Whether the one is at most the other; no value has both where it is not.
bool SchemaReader::check_counts(const Place& place, const char* low, const char* high) {
  const auto least = count(place, low), most = count(place, high);
  return !most || least.value_or(0) <= *most;
}

Expr SchemaReader::string(const Place& place) {
  const Schema* pattern = place.find("pattern");
  const Schema* format = place.find("format");
  const bool counted = place.find("minLength") != nullptr || place.find("maxLength") != nullptr;
  if ((pattern != nullptr || format != nullptr) &&
      (counted || (pattern != nullptr && format != nullptr))) {
    return refuse(place.at(pattern != nullptr ? "pattern" : "format"),
                  "cannot be kept together with a length or with another; accepted is one of them");
  }
  if (pattern != nullptr) {
    if (!pattern->is_string()) return refuse(place.at("pattern"), "is no regular expression");
    return matching(place, "pattern", pattern->get_ref<const std::string&>());
  }
  if (format != nullptr) {
    const auto known =
        std::ranges::find_if(kFormats, [&](const auto& f) { return *format == f.first; });
    if (known == kFormats.end()) {
      return refuse(place.at("format"),
                    "is not supported; accepted are date, time, date-time, "
                    "duration, uuid, email, hostname, ipv4 and ipv6");
    }
    return matching(place, "format", known->second);
  }
  if (!check_counts(place, "minLength", "maxLength")) return builder_.nothing();
  return text_.string(count(place, "minLength").value_or(0), count(place, "maxLength"));
}

Expr SchemaReader::matching(const Place& place, std::string_view keyword,
                            std::string_view pattern) {
  const PatternSpelling spelling{[this](const CodePoints& set) { return text_.spelled(set); },
                                 text_.characters()};
  const auto body = read_pattern(builder_, pattern, spelling);
  if (!body) return refuse(place.at(keyword), "is refused: " + body.error().message);
  const Expr quote = builder_.literal("\"");
  return builder_.sequence({quote, *body, quote});
}

Expr SchemaReader::array(const Place& place) {
  const uint32_t least = count(place, "minItems").value_or(0);
  std::optional<uint32_t> most = count(place, "maxItems");
  if (!check_counts(place, "minItems", "maxItems")) return builder_.nothing();
  const Schema* items = place.find("items");
  if (items != nullptr && items->is_array()) {
    return refuse(place.at("items"), "is a list; accepted is a schema, and a list as prefixItems");
  }
  const Schema* prefix = place.find("prefixItems");
  if (prefix != nullptr) {
    if (!prefix->is_array()) return refuse(place.at("prefixItems"), "is no list of schemas");
    return tuple(place, *prefix, least, most);
  }
  if (items == nullptr && least == 0 && !most) return text_.any_array();
  if (items != nullptr && *items == false) most = 0;
  if (most && *most < least) return builder_.nothing();
  if (most == 0U) return text_.list('[', builder_.empty(), ']', 0, 0);
  const Expr item = items == nullptr ? text_.any_value() : value({*items, place.at("items")});
  return text_.list('[', item, ']', least, most);
}

// Its first items each with a schema of its own. Others come where `items` is given, or where the
// least number asks for them.
Expr SchemaReader::tuple(const Place& place, const Schema& prefix, uint32_t least,
                         std::optional<uint32_t> most) {
  const Schema* items = place.find("items");
  const auto n = static_cast<uint32_t>(prefix.size());
  const bool closed = items != nullptr && *items == false;
  if (closed) most = std::min(most.value_or(n), n);
  if (most && *most < least) return builder_.nothing();
  const Expr end = builder_.sequence({text_.gap(), builder_.literal("]")});
  Expr rest = end;
  if ((items != nullptr && !closed) || least > n) {
    const Expr item = items == nullptr ? text_.any_value() : value({*items, place.at("items")});
    std::optional<uint32_t> others;
    if (most) others = *most > n ? *most - n : 0;
    const uint32_t needed = least > n ? least - n : 0;
    if (items == nullptr) others = needed;
    rest = builder_.sequence(
        {builder_.repeat(builder_.sequence({text_.comma(), item}), needed, others), end});
  }
  // From the last to the first: what may follow when i items are there.
  std::optional<RuleId> following;
  for (uint32_t i = n; i-- > 0;) {
    const Expr item = value({prefix[i], place.at("prefixItems") + "[" + std::to_string(i) + "]"});
    const Expr more = following ? builder_.call(*following) : rest;
    const Expr taken = builder_.sequence({item, most && i + 1 >= *most ? end : more});
    std::vector<Expr> ways;
    if (!most || i < *most)
      ways.push_back(i == 0 ? taken : builder_.sequence({text_.comma(), taken}));
    if (i >= least) ways.push_back(i == 0 ? builder_.literal("]") : end);
    following = builder_.rule("items");
    builder_.define(*following, builder_.choice(ways));
  }
  const Expr begin = builder_.sequence({builder_.literal("["), text_.gap()});
  if (!following) return text_.list('[', builder_.empty(), ']', 0, 0);
  return builder_.sequence({begin, builder_.call(*following)});
}

std::set<std::string> SchemaReader::required_names(const Place& place) {
  std::set<std::string> names;
  const Schema* required = place.find("required");
  if (required == nullptr) return names;
  const bool texts = required->is_array() && std::ranges::all_of(*required, [](const Schema& name) {
                       return name.is_string();
                     });
  if (!texts) refuse(place.at("required"), "is no list of names");
  for (size_t i = 0; texts && i < required->size(); ++i) names.insert((*required)[i]);
  return names;
}

Expr SchemaReader::object(const Place& place) {
  const Schema* properties = place.find("properties");
  const Schema* additional = place.find("additionalProperties");
  if (properties != nullptr && !properties->is_object()) {
    return refuse(place.at("properties"), "is no object of schemas");
  }
  const std::set<std::string> required = required_names(place);
  std::vector<std::string> names;
  if (properties != nullptr) {
    for (const auto& [name, schema] : properties->items()) names.push_back(name);
  }
  const bool open = additional != nullptr && *additional != false;
  const uint32_t least = count(place, "minProperties").value_or(0);
  const auto most = count(place, "maxProperties");
  if (properties == nullptr && required.empty() && (additional == nullptr || open)) {  // a map
    if (least > 1) {
      return refuse(place.at("minProperties"),
                    "cannot be kept; accepted are 0, 1 and at most the "
                    "number of required properties");
    }
    if (most && least > *most) return builder_.nothing();
    if (additional == nullptr && least == 0 && !most) return text_.any_object();
    const Expr item = additional == nullptr
                          ? text_.any_value()
                          : value({*additional, place.at("additionalProperties")});
    return text_.list('{', text_.member(text_.any_string(), item), '}', least, most);
  }
  // A property that is required and not listed is any value, unless the others are closed or told.
  for (const std::string& name : required) {
    if (properties != nullptr && properties->contains(name)) continue;
    if (additional != nullptr && *additional == false) return builder_.nothing();
    names.push_back(name);
  }
  if (least > required.size()) {
    return refuse(place.at("minProperties"),
                  "cannot be kept; accepted is at most the number of "
                  "required properties");
  }
  if (most && (open || *most < names.size())) {
    return refuse(place.at("maxProperties"),
                  "cannot be kept; accepted is at least the number of "
                  "properties, where no others are allowed");
  }
  std::optional<Expr> extra;
  if (open) {
    extra = text_.member(text_.string_other_than(names),
                         value({*additional, place.at("additionalProperties")}));
  }
  return listed(place, names, required, extra);
}

// Properties in their order. From the last to the first, two rules a property: what comes when one
// more member has to, and what may follow a member.
Expr SchemaReader::listed(const Place& place, const std::vector<std::string>& names,
                          const std::set<std::string>& required, std::optional<Expr> extra) {
  const Schema* properties = place.find("properties");
  const Schema* additional = place.find("additionalProperties");
  const Expr end = builder_.sequence({text_.gap(), builder_.literal("}")});
  const auto as_rule = [&](Expr body) {
    const RuleId rule = builder_.rule("properties");
    builder_.define(rule, body);
    return builder_.call(rule);
  };
  std::optional<Expr> next;
  Expr more = end;
  bool needed = false;  // one of them is still required
  if (extra) {
    const Expr another = builder_.sequence({text_.comma(), *extra});
    more = as_rule(builder_.sequence({builder_.repeat(another, 0, std::nullopt), end}));
    next = as_rule(builder_.sequence({*extra, more}));
  }
  const Schema anything = true;
  for (size_t i = names.size(); i-- > 0 && !builder_.failed();) {
    const Schema* schema = additional == nullptr || *additional == false ? &anything : additional;
    if (properties != nullptr && properties->contains(names[i])) schema = &(*properties)[names[i]];
    const Expr member = text_.member(builder_.literal(json_spelling(names[i])),
                                     value({*schema, place.at("properties") + "." + names[i]}));
    std::vector<Expr> ways = {builder_.sequence({member, more})};
    if (next && !required.contains(names[i])) ways.push_back(*next);
    next = as_rule(builder_.choice(std::move(ways)));
    needed = needed || required.contains(names[i]);
    const Expr another = builder_.sequence({text_.comma(), *next});
    more = as_rule(needed ? another : builder_.choice({another, end}));
  }
  std::vector<Expr> ways;
  if (next) ways.push_back(*next);
  if (!needed) ways.push_back(builder_.literal("}"));
  return builder_.sequence({builder_.literal("{"), text_.gap(), builder_.choice(std::move(ways))});
}

}  // namespace

Result<std::shared_ptr<const Grammar>> read_json_schema(const nlohmann::ordered_json& schema,
                                                        const std::string& path) {
  return SchemaReader(schema, path).read();
}

std::shared_ptr<const Grammar> any_json_object() {
  static const auto made = [] {
    GrammarBuilder builder;
    JsonText text(builder);
    const RuleId root = builder.rule("an object");
    builder.define(root, text.any_object());
    auto grammar = builder.build(root);
    CHECK(grammar);
    return *grammar;
  }();
  return made;
}

}  // namespace tristill::openai
