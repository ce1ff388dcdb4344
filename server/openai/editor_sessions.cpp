#include "server/openai/editor_sessions.h"

namespace tristill::openai {
namespace {

// Typing leaves one side of the cursor as it was.
bool is_same_text(const EditorSessions::Request& a, const EditorSessions::Request& b) {
  return a.suffix == b.suffix || a.prefix.starts_with(b.prefix) || b.prefix.starts_with(a.prefix);
}

bool supersedes(const EditorSessions::Request& newer, const EditorSessions::Request& older) {
  if (newer.session != older.session || newer.body == older.body) return false;
  return newer.is_named || is_same_text(newer, older);
}

}  // namespace

std::shared_ptr<EditorSessions::Entry> EditorSessions::enter(Request request,
                                                             std::function<void()> wake) {
  auto entry = std::make_shared<Entry>(std::move(request), std::move(wake));
  std::vector<std::shared_ptr<Entry>> older;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](const auto& live) { return live.expired(); });
    for (const auto& live : entries_) {
      auto other = live.lock();
      if (other && supersedes(entry->request_, other->request_)) older.push_back(std::move(other));
    }
    entries_.push_back(entry);
  }
  for (const auto& other : older) {
    if (!other->superseded_.exchange(true)) other->wake_();
  }
  return entry;
}

}  // namespace tristill::openai
