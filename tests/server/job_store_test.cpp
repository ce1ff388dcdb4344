#include "server/jobs/store.h"

#include <gtest/gtest.h>

#include "tests/support/job_fixture.h"
#include "train/job/state.h"

namespace tristill::jobs {
namespace {

using job::JobState;

job::Event checkpoint_event(double step) {
  job::Event event;
  event.type = job::EventType::checkpoint;
  event.numbers = {{"step", step}};
  return event;
}

class JobStore : public ::testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    store_.reset();
    auto opened = Store::open(folder_.path() / "tristill.db");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }
  Result<Job> add(const std::string& name, std::optional<std::string> key = {},
                  const std::string& digest = "d") {
    return store_->add({.name = name, .spec = "{}", .idempotency_key = key, .body_digest = digest},
                       3);
  }
  Result<Job> change(const std::string& id, JobState to) {
    return store_->change(
        id, {.to = to, .message = "m", .failure = {}, .fine_tuned_model = {}, .failures = {}});
  }

  tests::TemporaryFolder folder_;
  std::unique_ptr<Store> store_;
};

TEST_F(JobStore, KeepsJobsAndEventsOverReopening) {
  const std::string id = add("a")->id;
  ASSERT_TRUE(store_->begin_attempt(id));
  store_->append_events(id, 0, 77, {checkpoint_event(5)});
  reopen();
  const auto job = store_->find(id);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->state, JobState::running);
  EXPECT_EQ(job->event_offset, 77);
  EXPECT_EQ(job->checkpoint_step, 5);
  const auto events = store_->events(id, 0, 10);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].type, "status");
  EXPECT_EQ(events[2].type, "checkpoint");
}

TEST_F(JobStore, RefusesEventsThatAreStoredAlready) {
  const std::string id = add("a")->id;
  store_->append_events(id, 0, 10, {checkpoint_event(1)});
  EXPECT_THROW(store_->append_events(id, 0, 10, {checkpoint_event(1)}), Defect);
  EXPECT_EQ(store_->events(id, 0, 10).size(), 2u);
}

TEST_F(JobStore, GivesEachJobAnIdOfItsOwn) {
  const auto first = add("a");
  const auto second = add("b");
  EXPECT_TRUE(first->id.starts_with("ftjob-"));
  EXPECT_NE(first->id, second->id);
  EXPECT_EQ(first->id.size(), 30u);
}

TEST_F(JobStore, RefusesANameThatAnActiveJobHas) {
  const std::string id = add("a")->id;
  const auto second = add("a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  EXPECT_EQ(second.error().param, "name");
  ASSERT_TRUE(change(id, JobState::cancelled));
  EXPECT_TRUE(add("a"));
  // The name is busy again: the first may not come back.
  const auto resumed = change(id, JobState::queued);
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().param, "name");
}

TEST_F(JobStore, RefusesMoreThanMayWait) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(add(name));
  const auto fourth = add("d");
  ASSERT_FALSE(fourth);
  EXPECT_EQ(fourth.error().code, ErrorCode::resource_exhausted);
}

TEST_F(JobStore, SameKeyAndBodyIsTheSameJob) {
  const auto first = add("a", "key-1");
  const auto again = add("a", "key-1");
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->id, again->id);
  const auto other = add("b", "key-1", "other body");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::conflict);
  EXPECT_EQ(other.error().param, "Idempotency-Key");
}

TEST_F(JobStore, RefusesStepsThatTheTableDoesNotHave) {
  const std::string id = add("a")->id;
  const auto skipped = change(id, JobState::succeeded);
  ASSERT_FALSE(skipped);
  EXPECT_EQ(skipped.error().code, ErrorCode::conflict);
  EXPECT_EQ(store_->find(id)->state, JobState::queued);
  EXPECT_EQ(store_->events(id, 0, 10).size(), 1u);
}

TEST_F(JobStore, OutcomeIsOfTheNewestAttemptOnly) {
  const std::string id = add("a")->id;
  ASSERT_TRUE(store_->begin_attempt(id));
  job::Event result;
  result.type = job::EventType::result;
  result.texts = {{"outcome", "interrupted"}};
  store_->append_events(id, 0, 10, {result});
  EXPECT_TRUE(store_->outcome(*store_->find(id)));
  ASSERT_TRUE(change(id, JobState::queued));
  const auto second = store_->begin_attempt(id);
  ASSERT_TRUE(second);
  EXPECT_FALSE(store_->outcome(*second));
}

TEST_F(JobStore, AWithdrawnAttemptLeavesNoTrace) {
  const std::string id = add("a")->id;
  const auto fresh = store_->find(id);
  ASSERT_TRUE(store_->begin_attempt(id));
  store_->withdraw_attempt(*fresh);
  EXPECT_EQ(store_->find(id)->state, JobState::queued);
  EXPECT_FALSE(store_->find(id)->started_at);
  EXPECT_EQ(store_->events(id, 0, 10).size(), 1u);
  // The same of a job that has run before.
  ASSERT_TRUE(store_->begin_attempt(id));
  ASSERT_TRUE(change(id, JobState::queued));
  const auto before = store_->find(id);
  const size_t n_events = store_->events(id, 0, 10).size();
  ASSERT_TRUE(store_->begin_attempt(id));
  store_->withdraw_attempt(*before);
  reopen();
  const auto after = store_->find(id);
  EXPECT_EQ(after->state, JobState::queued);
  EXPECT_EQ(after->started_at, before->started_at);
  EXPECT_EQ(after->attempt_event_id, before->attempt_event_id);
  EXPECT_EQ(after->failures, before->failures);
  EXPECT_EQ(store_->events(id, 0, 10).size(), n_events);
}

TEST_F(JobStore, AnAttemptThatAPersonWantsToEndIsNotWithdrawn) {
  const std::string id = add("a")->id;
  const auto before = store_->find(id);
  ASSERT_TRUE(store_->begin_attempt(id));
  ASSERT_TRUE(change(id, JobState::cancelling));
  store_->withdraw_attempt(*before);
  EXPECT_EQ(store_->find(id)->state, JobState::cancelling);
  EXPECT_EQ(store_->events(id, 0, 10).size(), 3u);
}

TEST_F(JobStore, OnlyANewCheckpointIsProgress) {
  const std::string id = add("a")->id;
  ASSERT_TRUE(store_->begin_attempt(id));
  store_->append_events(id, 0, 1, {checkpoint_event(7)});
  ASSERT_TRUE(store_->change(id, {.to = JobState::queued,
                                  .message = "died",
                                  .failure = {},
                                  .fine_tuned_model = {},
                                  .failures = 2}));
  store_->append_events(id, 1, 2, {checkpoint_event(7)});
  EXPECT_EQ(store_->find(id)->failures, 2);
  store_->append_events(id, 2, 3, {checkpoint_event(8)});
  EXPECT_EQ(store_->find(id)->failures, 0);
}

TEST_F(JobStore, PagesNewestFirst) {
  std::vector<std::string> ids;
  for (const char* name : {"a", "b", "c"}) ids.push_back(add(name)->id);
  const auto first = store_->list("", 2);
  ASSERT_TRUE(first);
  ASSERT_EQ(first->size(), 2u);
  EXPECT_EQ((*first)[0].id, ids[2]);
  const auto second = store_->list((*first)[1].id, 2);
  ASSERT_EQ(second->size(), 1u);
  EXPECT_EQ((*second)[0].id, ids[0]);
  const auto unknown = store_->list("ftjob-none", 2);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().param, "after");
}

TEST_F(JobStore, RefusesADatabaseOfANewerVersion) {
  store_.reset();
  { Database(folder_.path() / "tristill.db").execute("PRAGMA user_version = 99"); }
  const auto opened = Store::open(folder_.path() / "tristill.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::corrupt);
  EXPECT_NE(opened.error().message.find("99"), std::string::npos);
}

TEST_F(JobStore, RefusesAFileThatIsNoDatabase) {
  store_.reset();
  for (const char* file : {"tristill.db", "tristill.db-wal", "tristill.db-shm"}) {
    std::filesystem::remove(folder_.path() / file);
  }
  ASSERT_TRUE(write_file_atomically(folder_.path() / "tristill.db", std::string(4096, 'x')));
  const auto opened = Store::open(folder_.path() / "tristill.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::corrupt);
}

TEST_F(JobStore, AFullDiskIsNamedAndChangesNothing) {
  // The database may not grow: what a full disk looks like to SQLite.
  const std::string id = add("a")->id;
  Database limited(folder_.path() / "tristill.db");
  limited.execute("PRAGMA max_page_count = 1");
  const auto fill = [&] {
    Transaction transaction(limited);
    Statement row(limited, "INSERT INTO events (job_id, type, line) VALUES (?, 'log', ?)");
    row.bind(std::string_view(id)).bind(std::string_view(std::string(1 << 20, 'x')));
    row.run();
    transaction.commit();
  };
  try {
    fill();
    FAIL() << "a megabyte fitted";
  } catch (const DatabaseError& failure) {
    EXPECT_EQ(failure.error().code, ErrorCode::resource_exhausted);
  }
  EXPECT_EQ(store_->events(id, 0, 10).size(), 1u);
  EXPECT_TRUE(add("b"));
}

TEST(JobStateTable, FinalStatesEndUnlessResumed) {
  for (const JobState from : job::kJobStates) {
    EXPECT_EQ(job::parse_job_state(to_string(from)), from);
    EXPECT_FALSE(may_become(from, from));
    if (!is_final(from)) continue;
    for (const JobState to : job::kJobStates) {
      const bool resume = to == JobState::queued && from != JobState::succeeded;
      EXPECT_EQ(may_become(from, to), resume) << to_string(from) << " to " << to_string(to);
    }
  }
}

TEST(JobStateTable, WishesAreStepsOfTheTable) {
  for (const JobState from : job::kJobStates) {
    for (const auto to : {after_cancel(from), after_resume(from)}) {
      if (!to || *to == from) continue;
      EXPECT_TRUE(may_become(from, *to)) << to_string(from);
    }
    EXPECT_EQ(after_cancel(from).has_value(), !is_final(from));
  }
  EXPECT_FALSE(after_resume(JobState::succeeded));
  EXPECT_FALSE(after_resume(JobState::running));
}

TEST(JobStateTable, OnlyRunningJobsSucceed) {
  EXPECT_FALSE(may_become(JobState::queued, JobState::succeeded));
  EXPECT_FALSE(may_become(JobState::paused, JobState::succeeded));
  EXPECT_TRUE(may_become(JobState::running, JobState::succeeded));
}

}  // namespace
}  // namespace tristill::jobs
