// A SQLite connection and its statements as values. One connection belongs to whoever holds its
// mutex (store.cpp). Failures are thrown as DatabaseError: they end the request or the step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tristill::jobs {

// resource_exhausted when the disk is full, corrupt when the file is damaged, else unavailable.
class DatabaseError : public std::runtime_error {
 public:
  explicit DatabaseError(Error error)
      : std::runtime_error(error.message), error_(std::move(error)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

class Database {
 public:
  // WAL, synchronous=FULL, foreign keys on.
  explicit Database(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // One or several statements without parameters or rows.
  void execute(const char* sql);
  int64_t last_insert_id() const;
  int64_t changes() const;
  sqlite3* handle() const { return handle_; }

 private:
  sqlite3* handle_ = nullptr;
};

// One prepared statement, bound in order, stepped once a row.
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  Statement& bind(const std::optional<double>& value);
  Statement& bind(const std::optional<std::string>& value);

  // True while there is a row.
  bool step();
  // Steps a statement that gives no rows.
  void run() { step(); }

  int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  std::optional<double> optional_real(int column) const;
  std::optional<std::string> optional_text(int column) const;

 private:
  void check(int status) const;

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

// All or nothing: rolled back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  // Durable when it returns.
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace tristill::jobs
