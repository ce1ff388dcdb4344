// A JobService on a fresh data directory with the fake worker, and its routes without sockets.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "server/http/router.h"
#include "server/jobs/service.h"
#include "tests/support/temporary_folder.h"

namespace tristill::tests {

// Waits for what will be so: the deadline is only there to end a broken test.
inline bool until(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// While it lives, no file of this process can grow beyond some bytes: a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes = 64) {
    ::signal(SIGXFSZ, SIG_IGN);
    CHECK(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit small{bytes, before_.rlim_max};
    CHECK(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

// Keeps what a stream writes; the client is there until leave().
class RecordingStream : public http::StreamWriter {
 public:
  bool write(std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    text_ += bytes;
    return !gone_;
  }
  bool client_gone() const override { return gone_; }
  void leave() { gone_ = true; }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;  // guards text_
  std::string text_;
  std::atomic<bool> gone_{false};
};

struct Answer {
  int status = 0;
  nlohmann::json body;
  http::Response response;
};

class JobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(data() / "corpora" / "code");
    options_.data_dir = data();
    options_.worker_binary = TRISTILL_FAKE_WORKER;
    options_.publish_model = [this](const std::string& name, const std::filesystem::path& path) {
      return publish(name, path);
    };
    options_.model_path = [](const std::string&) { return std::nullopt; };
    options_.trace_shard = [](const std::string&) { return std::nullopt; };
  }
  void TearDown() override {
    stop();
    touch("end");
  }

  const std::filesystem::path& data() const { return folder_.path(); }
  void script(const std::string& text) {
    ASSERT_TRUE(write_file_atomically(data() / "fake_worker.script", text));
  }
  void touch(const std::string& file) {
    if (!write_file_atomically(data() / file, "")) ADD_FAILURE() << "cannot touch " << file;
  }

  void start() {
    auto opened = jobs::JobService::open(options_);
    ASSERT_TRUE(opened) << opened.error().message;
    service_ = std::move(*opened);
    router_ = std::make_unique<http::Router>();
    service_->add_routes(*router_);
    service_->start();
  }
  void stop() {
    if (service_) service_->stop();
    router_.reset();
    service_.reset();
  }
  // As a daemon that is killed: the worker is not told.
  void crash() {
    router_.reset();
    service_.reset();
  }

  Answer call(const std::string& method, const std::string& path, const std::string& body = "",
              std::map<std::string, std::string> query = {},
              std::map<std::string, std::string> headers = {}) {
    http::Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    request.query = std::move(query);
    request.headers = std::move(headers);
    request.client_gone = [] { return false; };
    Answer answer;
    answer.response = router_->route(request);
    answer.status = answer.response.status;
    if (!answer.response.stream) {
      answer.body = nlohmann::json::parse(answer.response.body, nullptr, false);
    }
    return answer;
  }

  static nlohmann::json body(const std::string& name) {
    return {{"kind", "train"},
            {"name", name},
            {"model",
             {{"n_layers", 1},
              {"d_model", 256},
              {"d_ff", 256},
              {"n_heads", 4},
              {"n_kv_heads", 4},
              {"head_dim", 64},
              {"vocab_size", 512},
              {"max_context", 256}}},
            {"tokenizer", {{"vocab_size", 512}}},
            {"data", {{"corpora", {{{"name", "code"}}}}}},
            {"budget", {{"max_steps", 10}}},
            {"batch_tokens", 512},
            {"sequence_length", 128}};
  }
  std::string create(const std::string& name) { return create_from(body(name)); }
  std::string create_from(const nlohmann::json& body) {
    const Answer answer = call("POST", "/jobs", body.dump());
    EXPECT_EQ(answer.status, 200) << answer.response.body;
    return answer.body.value("id", "");
  }
  nlohmann::json job(const std::string& id) { return call("GET", "/jobs/" + id).body; }
  std::string status(const std::string& id) { return job(id).value("status", ""); }
  bool reaches(const std::string& id, const std::string& wanted) {
    return until([&] { return status(id) == wanted; });
  }
  nlohmann::json events(const std::string& id) {
    return call("GET", "/jobs/" + id + "/events", "", {{"limit", "1000"}}).body["data"];
  }
  size_t count_events(const std::string& id, const std::string& type) {
    size_t n = 0;
    for (const auto& event : events(id)) n += event["type"] == type ? 1 : 0;
    return n;
  }
  size_t attempts(const std::string& id) {
    const auto marks = read_file(data() / "jobs" / id / "attempts");
    return marks ? marks->size() : 0;
  }

  virtual Result<void> publish(const std::string& name, const std::filesystem::path& path) {
    const std::lock_guard lock(published_mutex_);
    published_[name] = path;
    return {};
  }
  size_t n_published() {
    const std::lock_guard lock(published_mutex_);
    return published_.size();
  }

  TemporaryFolder folder_;
  jobs::JobServiceOptions options_;
  std::unique_ptr<jobs::JobService> service_;
  std::unique_ptr<http::Router> router_;
  std::mutex published_mutex_;  // guards published_
  std::map<std::string, std::filesystem::path> published_;
};

}  // namespace tristill::tests
