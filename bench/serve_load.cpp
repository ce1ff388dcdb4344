// tristill-serve-load: clients of an OpenAI-compatible server, all on one thread, and what they
// saw: time to the first token, between tokens, to the end, and tokens a second.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/exit_code.h"
#include "bench/sse.h"

namespace tristill::bench {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

struct Options {
  std::string host = "127.0.0.1";
  int port = 8080;
  std::string path = "/v1/completions";
  std::string workload = "random";  // or "keystroke"
  uint32_t clients = 32;
  uint32_t requests = 128;
  double rate = 0;  // requests a second, Poisson; 0: every client sends its next one at once
  uint32_t prompt_words = 128;
  uint32_t max_tokens = 64;
  bool stream = true;
  uint64_t seed = 1;
  double timeout_s = 300;
  bool json_output = false;
};

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// One request's life, in seconds from when it was due.
struct Sample {
  double first_token = 0, end = 0;
  std::vector<double> gaps;  // between tokens
  uint32_t tokens = 0;
  int status = 0;
  std::string error;
};

// Text of words that no two requests share, so that no server can remember it.
std::string random_text(std::mt19937_64& random, uint32_t words) {
  static const char* const kWords[] = {"def", "return", "self", "value", "index", "for",   "in",
                                       "if",  "not",    "None", "len",   "range", "append"};
  std::string text;
  for (uint32_t i = 0; i < words; ++i) {
    text += kWords[random() % std::size(kWords)];
    text += i % 9 == 8 ? "\n" : " ";
  }
  return text;
}

// What an editor sends: the same file each time, one more character near its end.
class Keystrokes {
 public:
  Keystrokes(std::mt19937_64& random, uint32_t words) : text_(random_text(random, words)) {}
  std::string next() {
    text_.insert(text_.size() - std::min<size_t>(text_.size(), 40), "x");
    return text_;
  }

 private:
  std::string text_;
};

class Client {
 public:
  explicit Client(const Options& options) : options_(options) {}
  ~Client() { disconnect(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool busy() const { return reader_ != nullptr; }
  int fd() const { return fd_; }
  Clock::time_point due() const { return due_; }

  void send(const std::string& prompt, Clock::time_point due) {
    json body = {{"model", "default"}, {"prompt", prompt},   {"max_tokens", options_.max_tokens},
                 {"temperature", 0},   {"ignore_eos", true}, {"stream", options_.stream}};
    const std::string text = body.dump();
    request_ =
        "POST " + options_.path + " HTTP/1.1\r\nHost: " + options_.host +
        "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) +
        "\r\n\r\n" + text;
    due_ = due;
    sample_ = {};
    reused_ = fd_ >= 0;
    transmit();
  }

  // Bytes are there; the sample once the answer is whole.
  std::optional<Sample> read() {
    char buffer[65536];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n > 0) {
      reused_ = false;
      reader_->feed({buffer, static_cast<size_t>(n)});
    } else if (reused_) {  // closed while it was idle: not this request's fault
      disconnect();
      reused_ = false;
      transmit();
    } else if (!reader_->closed()) {
      sample_.error = "the server cut the answer off";
      return end();
    }
    return reader_->done() ? std::optional(end()) : std::nullopt;
  }

  Sample fail(const std::string& why) {
    sample_.error = why;
    disconnect();
    return end();
  }

 private:
  void transmit() {
    if (fd_ < 0) connect();
    reader_ = std::make_unique<AnswerReader>([this](std::string_view data) { take(data); });
    for (size_t sent = 0; sent < request_.size();) {
      const ssize_t n = ::send(fd_, request_.data() + sent, request_.size() - sent, MSG_NOSIGNAL);
      if (n <= 0 && !reused_) throw std::runtime_error("the server does not take the request");
      if (n <= 0) return;  // read() finds the connection closed and tries anew
      sent += static_cast<size_t>(n);
    }
  }
  void connect() {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(options_.host.c_str(), std::to_string(options_.port).c_str(), &hints, &found) !=
        0) {
      throw std::runtime_error("no such host: " + options_.host);
    }
    fd_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int connected = ::connect(fd_, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (connected != 0) throw std::runtime_error("nothing listens on that port");
    const int yes = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  void disconnect() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  // An event with text is a token; servers that join several say so in usage at the end.
  void take(std::string_view data) {
    if (data == "[DONE]") return;
    const auto event = json::parse(data, nullptr, false);
    if (!event.is_object() || event.contains("error")) {
      sample_.error = std::string(data.substr(0, 200));
      return;
    }
    const double now = seconds(Clock::now() - due_);
    if (event.contains("usage") && event["usage"].is_object()) {
      sample_.tokens = event["usage"].value("completion_tokens", sample_.tokens);
    }
    if (!options_.stream || !event.contains("choices") || event["choices"].empty()) return;
    if (seen_ == 0) {
      sample_.first_token = now;
    } else {
      sample_.gaps.push_back(now - last_);
    }
    last_ = now;
    ++seen_;
  }

  Sample end() {
    sample_.end = seconds(Clock::now() - due_);
    sample_.status = reader_->status();
    if (sample_.status != 200 && sample_.error.empty()) {
      sample_.error = "status " + std::to_string(sample_.status);
    }
    if (sample_.tokens == 0) sample_.tokens = std::min(seen_, options_.max_tokens);
    if (!reader_->keeps_alive() || !sample_.error.empty()) disconnect();
    reader_.reset();
    seen_ = 0;
    return std::move(sample_);
  }

  const Options& options_;
  int fd_ = -1;
  bool reused_ = false;  // the connection served before, and nothing has come for this request
  std::string request_;
  std::unique_ptr<AnswerReader> reader_;
  Clock::time_point due_;
  Sample sample_;
  uint32_t seen_ = 0;
  double last_ = 0;
};

// When each request is due: at once, or with exponential gaps.
std::vector<double> schedule(const Options& options, std::mt19937_64& random) {
  std::vector<double> due(options.requests, 0.0);
  if (options.rate <= 0) return due;
  std::exponential_distribution<double> gap(options.rate);
  double at = 0;
  for (double& d : due) d = at += gap(random);
  return due;
}

// Sends all requests and gathers what the clients saw. In the open loop latency counts from when a
// request was due, also while every client is busy.
std::vector<Sample> run_load(const Options& options, double& elapsed) {
  std::mt19937_64 random(options.seed);
  Keystrokes keystrokes(random, options.prompt_words);
  const auto due = schedule(options, random);
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t i = 0; i < options.clients; ++i) {
    clients.push_back(std::make_unique<Client>(options));
  }
  std::vector<Sample> samples;
  uint32_t sent = 0;
  const auto start = Clock::now();
  while (samples.size() < options.requests) {
    const auto now = Clock::now();
    std::vector<pollfd> waits;
    std::vector<Client*> waiting;
    for (auto& client : clients) {
      const bool is_due = sent < options.requests && seconds(now - start) >= due[sent];
      if (!client->busy() && is_due) {
        const auto since = options.rate > 0 ? start + std::chrono::duration_cast<Clock::duration>(
                                                          std::chrono::duration<double>(due[sent]))
                                            : now;
        client->send(options.workload == "keystroke" ? keystrokes.next()
                                                     : random_text(random, options.prompt_words),
                     since);
        ++sent;
      }
      if (!client->busy()) continue;
      if (seconds(now - client->due()) > options.timeout_s) {
        samples.push_back(client->fail("no answer in time"));
        continue;
      }
      waits.push_back({client->fd(), POLLIN, 0});
      waiting.push_back(client.get());
    }
    poll(waits.data(), waits.size(), options.rate > 0 ? 1 : 100);
    for (size_t i = 0; i < waits.size(); ++i) {
      if (waits[i].revents == 0) continue;
      if (auto sample = waiting[i]->read()) samples.push_back(std::move(*sample));
    }
  }
  elapsed = seconds(Clock::now() - start);
  return samples;
}

// The value below which that share of the others lies.
double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::max<size_t>(at, 1) - 1];
}

json percentiles(const std::vector<double>& values) {
  return {{"p50", percentile(values, 0.5) * 1e3},
          {"p90", percentile(values, 0.9) * 1e3},
          {"p99", percentile(values, 0.99) * 1e3}};
}

json report_of(const std::vector<Sample>& samples, double elapsed) {
  std::vector<double> first, gaps, ends;
  uint64_t tokens = 0, errors = 0;
  std::string error;
  for (const Sample& sample : samples) {
    if (!sample.error.empty()) {
      ++errors;
      error = sample.error;
      continue;
    }
    first.push_back(sample.first_token);
    ends.push_back(sample.end);
    gaps.insert(gaps.end(), sample.gaps.begin(), sample.gaps.end());
    tokens += sample.tokens;
  }
  json report = {{"requests", samples.size()},
                 {"errors", errors},
                 {"seconds", elapsed},
                 {"output_tokens_per_s", static_cast<double>(tokens) / elapsed},
                 {"first_token_ms", percentiles(first)},
                 {"next_token_ms", percentiles(gaps)},
                 {"end_ms", percentiles(ends)}};
  if (errors > 0) report["error"] = error;
  return report;
}

void print_text(const json& report) {
  std::printf("%d requests, %d errors, %.2f s: %.0f output tokens/s\n",
              report["requests"].get<int>(), report["errors"].get<int>(),
              report["seconds"].get<double>(), report["output_tokens_per_s"].get<double>());
  for (const char* name : {"first_token_ms", "next_token_ms", "end_ms"}) {
    std::printf("%-15s p50 %8.2f  p90 %8.2f  p99 %8.2f\n", name, report[name]["p50"].get<double>(),
                report[name]["p90"].get<double>(), report[name]["p99"].get<double>());
  }
  if (report.contains("error")) {
    std::printf("last error: %s\n", report["error"].get<std::string>().c_str());
  }
}

}  // namespace
}  // namespace tristill::bench

int main(int argc, char** argv) {
  using tristill::bench::Options;
  Options options;
  CLI::App app("Load on an OpenAI-compatible server, and what its clients see");
  app.add_option("--host", options.host, "server");
  app.add_option("--port", options.port, "its port");
  app.add_option("--path", options.path, "endpoint");
  app.add_option("--workload", options.workload,
                 "random: prompts of their own; keystroke: one text, edited near its end each time")
      ->check(CLI::IsMember({"random", "keystroke"}));
  app.add_option("-c,--clients", options.clients, "connections")->check(CLI::Range(1, 4096));
  app.add_option("-n,--requests", options.requests, "requests in all")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--rate", options.rate, "requests a second (open loop); 0: closed loop");
  app.add_option("-p,--prompt-words", options.prompt_words, "words of a prompt");
  app.add_option("-m,--max-tokens", options.max_tokens, "tokens of an answer");
  app.add_flag("!--no-stream", options.stream, "answers as one JSON object");
  app.add_option("--seed", options.seed, "of the prompts");
  app.add_option("--timeout", options.timeout_s, "seconds for an answer");
  app.add_flag("--json", options.json_output, "one JSON object");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? tristill::kExitOk : tristill::kExitUsage;
  }
  try {
    double elapsed = 0;
    const auto samples = tristill::bench::run_load(options, elapsed);
    const auto report = tristill::bench::report_of(samples, elapsed);
    if (options.json_output) {
      std::printf("%s\n", report.dump().c_str());
    } else {
      tristill::bench::print_text(report);
    }
    return report["errors"] == 0 ? tristill::kExitOk : tristill::kExitDefect;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "tristill-serve-load: %s\n", failure.what());
    return tristill::kExitDefect;
  }
}
