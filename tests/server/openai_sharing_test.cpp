// What requests in flight have to do with each other: identical ones share, newer ones supersede.
#include <sstream>
#include <thread>

#include "server/openai/editor_sessions.h"
#include "server/openai/shared_generation.h"
#include "tests/support/served_model.h"

namespace tristill::openai {
namespace {

using nlohmann::json;

class Sharing : public tests::ServedModelTest {
 protected:
  Sharing() : Sharing(std::make_shared<ThreadTeam>(1)) {}
  explicit Sharing(const std::shared_ptr<ThreadTeam>& team)
      : ServedModelTest({.max_sequences = 4, .team = team}), team_(team) {}

  engine::Engine& engine() { return *registry_.exact("tiny")->engine; }

  // Asks on threads of their own, all before the engine computes, and gives the answers.
  std::vector<tests::Answer> ask_together(const std::string& path, const std::vector<json>& bodies,
                                          uint32_t n_sequences) {
    std::vector<tests::Answer> answers(bodies.size());
    std::vector<std::thread> clients;
    {
      const ThreadTeam::Turn turn(*team_);
      for (size_t i = 0; i < bodies.size(); ++i) {
        clients.emplace_back([&, i] { answers[i] = ask("POST", path, bodies[i].dump()); });
      }
      EXPECT_TRUE(tests::until([&] {
        const auto stats = engine().stats();
        return stats.running + stats.waiting >= n_sequences;
      }));
    }
    for (std::thread& client : clients) client.join();
    return answers;
  }

  const std::shared_ptr<ThreadTeam> team_;
};

TEST_F(Sharing, IdenticalGreedyRequestsAreComputedOnce) {
  const json body = {
      {"prompt", "def f("}, {"max_tokens", 20}, {"temperature", 0}, {"ignore_eos", true}};
  const auto answers = ask_together("/v1/completions", {body, body, body}, 1);
  for (const auto& answer : answers) {
    ASSERT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body["choices"], answers[0].body["choices"]);
    EXPECT_EQ(answer.body["usage"]["completion_tokens"], 20);
  }
  EXPECT_NE(answers[0].body["id"], answers[1].body["id"]);
}

TEST_F(Sharing, WhatIsScoredAtTheSameTimeIsNotMixedUp) {
  const auto body = [](const std::string& first, const std::string& second, int n) {
    return json{{"prompt", {first, second}}, {"top_logprobs", n}};
  };
  const auto answers = ask_together(
      "/v1/score", {body("one", "two", 1), body("ten", "six", 1), body("one", "xyz", 3)}, 3);
  const char* texts[3][2] = {{"one", "two"}, {"ten", "six"}, {"one", "xyz"}};
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(answers[i].response.stream) << answers[i].body;
    tests::RecordingStream written;
    answers[i].response.stream(written);
    std::istringstream lines(written.text());
    for (size_t p = 0; p < 2; ++p) {
      std::string line;
      ASSERT_TRUE(std::getline(lines, line));
      const json record = json::parse(line);
      EXPECT_EQ(record["text"], texts[i][p]) << i;
      EXPECT_EQ(record["top_logprobs"].back().size(), i == 2 ? 3U : 1U) << i;
    }
  }
}

TEST_F(Sharing, OneKeyIsOneFlightWhileSomebodyHoldsIt) {
  Flights flights;
  int started = 0;
  const auto start = [&](const std::function<void()>& ring) {
    ++started;
    engine::GenerationRequest wanted{.prompt = {1}, .max_tokens = 4};
    wanted.on_event = ring;
    std::vector<engine::GenerationRequest> all;
    all.push_back(std::move(wanted));
    return engine().submit_all(std::move(all));
  };
  auto first = flights.join("key", start);
  auto second = flights.join("key", start);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(started, 1);
  EXPECT_TRUE(flights.join("other", start) && flights.join("", start));
  EXPECT_EQ(started, 3);
  // Each reader sees every event.
  for (int reader = 0; reader < 2; ++reader) {
    size_t n_read = 0;
    EXPECT_TRUE(tests::until([&] {
      const auto event = (*first)->generations[0]->next(n_read);
      return event && event->kind == engine::TokenEvent::Kind::finish;
    }));
    EXPECT_EQ(n_read, 5U);
  }
  // One that has ended is shared no more, though it is still held.
  ASSERT_TRUE(flights.join("key", start));
  EXPECT_EQ(started, 4);
}

TEST(EditorSessions, ANewerRequestOfTheSameTextSupersedes) {
  EditorSessions sessions;
  int woken = 0;
  const auto wake = [&] { ++woken; };
  const auto enter = [&](const char* session, const char* prefix, const char* suffix) {
    return sessions.enter({.session = session,
                           .body = std::string(prefix) + suffix,
                           .prefix = prefix,
                           .suffix = suffix},
                          wake);
  };
  const auto first = enter("slot 0", "de", "x");
  const auto typed_on = enter("slot 0", "def", "x");
  EXPECT_TRUE(first->is_superseded());
  EXPECT_FALSE(typed_on->is_superseded());
  const auto same = enter("slot 0", "def", "x");       // asked again: one question
  const auto elsewhere = enter("slot 0", "class", "y");  // another editor's file
  const auto other_slot = enter("slot 1", "def f", "x");
  EXPECT_FALSE(typed_on->is_superseded());
  const auto end = enter("slot 0", "def f(", "x");
  EXPECT_TRUE(typed_on->is_superseded() && same->is_superseded());
  EXPECT_FALSE(elsewhere->is_superseded() || other_slot->is_superseded());
  EXPECT_EQ(woken, 3);
}

TEST(EditorSessions, ANamedSessionIsOfOneEditorWhateverTheText) {
  EditorSessions sessions;
  const auto first = sessions.enter(
      {.session = "session a", .body = "1", .prefix = "p", .suffix = "q", .is_named = true}, [] {});
  const auto second = sessions.enter(
      {.session = "session a", .body = "2", .prefix = "r", .suffix = "s", .is_named = true}, [] {});
  EXPECT_TRUE(first->is_superseded());
}

TEST_F(Sharing, TheSupersededAnswerComesAtOnceWithWhatThereIs) {
  const auto body = [](const char* prefix) {
    return json{{"input_prefix", prefix},
                {"input_suffix", ")"},
                {"n_predict", 100},
                {"id_slot", 0},
                {"ignore_eos", true}};
  };
  std::vector<tests::Answer> answers(2);
  std::thread newer;
  {
    const ThreadTeam::Turn turn(*team_);  // the engine computes nothing yet
    std::thread older([&] { answers[0] = ask("POST", "/infill", body("def f").dump()); });
    EXPECT_TRUE(tests::until([&] {
      const auto stats = engine().stats();
      return stats.running + stats.waiting == 1;
    }));
    newer = std::thread([&] { answers[1] = ask("POST", "/infill", body("def f(").dump()); });
    older.join();  // although nothing was computed
    EXPECT_EQ(answers[0].status, 200);
    EXPECT_EQ(answers[0].response.headers.count("x-superseded"), 1U);
    EXPECT_EQ(answers[0].body["content"], "");
  }
  newer.join();
  EXPECT_EQ(answers[1].body["tokens_predicted"], 100);
}

}  // namespace
}  // namespace tristill::openai
