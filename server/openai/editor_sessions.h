// EditorSessions: who asks for what of which editor, so that a newer request ends the older ones
// that nobody waits for any more (editors that do not hang up, like llama.vscode). Any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace tristill::openai {

class EditorSessions {
 public:
  struct Request {
    std::string session;  // key and name of the session
    std::string body;     // identical ones do not supersede each other: they are one question
    std::string prefix, suffix;
    // Sessions of a name that the client chose for itself. Others share their name with any client
    // (every llama.vim is slot 0): a request is then newer only where it is of the same text.
    bool is_named = false;
  };

  // While it lives, the request can be superseded: then is_superseded turns true and wake is
  // called, once, on the newer request's thread.
  class Entry {
   public:
    Entry(Request request, std::function<void()> wake)
        : request_(std::move(request)), wake_(std::move(wake)) {}
    bool is_superseded() const { return superseded_; }

   private:
    friend class EditorSessions;
    const Request request_;
    const std::function<void()> wake_;
    std::atomic<bool> superseded_{false};
  };

  // Supersedes the older requests of the same session and text.
  std::shared_ptr<Entry> enter(Request request, std::function<void()> wake);

 private:
  std::mutex mutex_;  // guards entries_
  std::vector<std::weak_ptr<Entry>> entries_;
};

}  // namespace tristill::openai
