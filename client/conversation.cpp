#include "client/conversation.h"

#include <algorithm>
#include <utility>

#include "base/atomic_file.h"
#include "client/failure.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr std::string_view kBlockMark = "\"\"\"";

bool is_role(const std::string& role) {
  return role == "system" || role == "user" || role == "assistant";
}

}  // namespace

void Conversation::say(std::string role, std::string content) {
  turns_.push_back({std::move(role), std::move(content)});
}

void Conversation::take_back() {
  if (!turns_.empty()) turns_.pop_back();
}

void Conversation::set_system(const std::string& text) {
  const bool has = !turns_.empty() && turns_.front().role == "system";
  if (has) turns_.erase(turns_.begin());
  if (!text.empty()) turns_.insert(turns_.begin(), {"system", text});
}

std::string Conversation::system() const {
  return !turns_.empty() && turns_.front().role == "system" ? turns_.front().content : "";
}

void Conversation::reset() {
  const std::string text = system();
  turns_.clear();
  set_system(text);
}

Json Conversation::messages() const {
  Json messages = Json::array();
  for (const Turn& turn : turns_) {
    messages.push_back({{"role", turn.role}, {"content", turn.content}});
  }
  return messages;
}

void save_conversation(const Conversation& conversation, const std::string& path) {
  const Json object = {{"messages", conversation.messages()}};
  const std::string bytes = object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (auto written = write_file_atomically(path, bytes); !written) {
    throw Failure(exit_code(written.error().code), written.error().message, "save");
  }
}

Conversation load_conversation(const std::string& path) {
  const auto bytes = read_file(path, kMaxFileBytes);
  if (!bytes) throw Failure(exit_code(bytes.error().code), bytes.error().message, "load");
  const Json object = Json::parse(*bytes, nullptr, false);
  const Json& messages = field_of(object, "messages");
  const auto refuse = [&](const std::string& what) {
    throw Failure(kExitData, "\"" + path + "\" is no saved conversation: " + what, "load");
  };
  if (!messages.is_array()) refuse("it has no list messages");
  Conversation conversation;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string where = "messages[" + std::to_string(i) + "]";
    const std::string role = text_of(messages[i], "role");
    if (!is_role(role)) refuse(where + ".role is none of system, user, assistant");
    if (!field_of(messages[i], "content").is_string()) refuse(where + ".content is no text");
    conversation.say(role, text_of(messages[i], "content"));
  }
  return conversation;
}

bool MessageReader::take(std::string_view line) {
  const bool was_open = std::exchange(open_, false);
  if (!was_open) message_.clear();
  if (!was_open && line.starts_with(kBlockMark)) {
    block_ = true;
    line.remove_prefix(kBlockMark.size());
    if (line.empty()) return open_ = true, false;
  }
  if (block_) {
    const bool ends = line.ends_with(kBlockMark);
    if (ends) line.remove_suffix(kBlockMark.size());
    message_ += line;
    if (!ends) message_ += '\n';
    if (ends && message_.ends_with('\n')) message_.pop_back();
    open_ = !ends;
    block_ = !ends;
    return ends;
  }
  open_ = line.ends_with('\\');
  if (open_) line.remove_suffix(1);
  message_ += line;
  if (open_) message_ += '\n';
  return !open_;
}

void MessageReader::clear() { *this = MessageReader(); }

}  // namespace tristill::client
