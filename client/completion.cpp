// tristill completion: scripts for bash, zsh and fish. They ask this program for candidates
// (complete_words), so that the commands and flags are written down once.
#include <algorithm>
#include <cstdlib>

#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

constexpr long kNamesTimeoutMs = 1000;

constexpr const char* kBash = R"(# bash completion of tristill: source <(tristill completion bash)
_tristill() {
  local line="${COMP_LINE:0:COMP_POINT}" words found
  read -ra words <<< "$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  mapfile -t found < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
  if [[ "${found[0]-}" == "@files" ]]; then
    compopt -o default
    COMPREPLY=()
  else
    COMPREPLY=("${found[@]}")
  fi
}
complete -F _tristill tristill
)";

constexpr const char* kZsh = R"(#compdef tristill
# zsh completion of tristill: source <(tristill completion zsh)
_tristill() {
  local -a found
  found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=("${(@)found:#}")
  if [[ "${found[1]}" == "@files" ]]; then
    _files
  else
    compadd -- "${found[@]}"
  fi
}
if [[ "${funcstack[1]}" == "_tristill" ]]; then
  _tristill "$@"
else
  compdef _tristill tristill
fi
)";

constexpr const char* kFish = R"(# fish completion of tristill: tristill completion fish | source
function __tristill_candidates
  set -l words (commandline -opc) (commandline -ct)
  set -l found (command $words[1] __complete $words[2..-1] 2>/dev/null)
  if test "$found[1]" = "@files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\n' $found
  end
end
complete -c tristill -f -a '(__tristill_candidates)'
)";

// Names from elsewhere end up on a command line: those that a shell could take as more than a
// word are left out.
bool is_plain_word(const std::string& name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-/+:@").find(c) != std::string_view::npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_plain);
}

// What completes names that only the daemon or the configuration file know.
struct Names {
  const Flags& flags;
  const Environment& environment;

  std::vector<std::string> of_daemon(const char* path) const {
    std::vector<std::string> names;
    try {
      ApiOptions options = read_settings(flags, environment).api();
      options.timeout_ms = kNamesTimeoutMs;
      const Json answer = Api(options).get(path);
      for (const Json& item : list_of(answer, "data")) names.push_back(text_of(item, "id"));
    } catch (const Failure&) {
      names.clear();  // no daemon, no names
    }
    std::erase_if(names, [](const std::string& name) { return !is_plain_word(name); });
    return names;
  }

  std::vector<std::string> of_profiles() const {
    try {
      return profile_names(environment);
    } catch (const Failure&) {
      return {};
    }
  }
};

// An option by "--name", in the command or above it.
const CLI::Option* find_option(const CLI::App* command, const std::string& word) {
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      const auto& names = option->get_lnames();
      if (word.starts_with("--") &&
          std::find(names.begin(), names.end(), word.substr(2)) != names.end()) {
        return option;
      }
    }
  }
  return nullptr;
}

const CLI::App* find_subcommand(const CLI::App* command, const std::string& word) {
  for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_name() == word) return sub;
  }
  return nullptr;
}

// Where the words before the last have led.
struct Position {
  const CLI::App* command;
  const CLI::Option* value_of = nullptr;  // the last word is this option's value
  size_t positional = 0;                  // else the index of the argument that it is
};

void take_flag(Flags& flags, const std::string& word, const std::string& value) {
  if (word == "--server") flags.server = value;
  if (word == "--api-key") flags.api_key = value;
  if (word == "--api-key-file") flags.api_key_file = value;
  if (word == "--ca-file") flags.ca_file = value;
  if (word == "--profile") flags.profile = value;
}

Position follow(const CLI::App& app, const std::vector<std::string>& words, Flags& flags) {
  Position at{.command = &app};
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (const CLI::Option* option = find_option(at.command, word)) {
      if (option->get_items_expected_max() == 0) continue;  // a flag
      if (i + 2 == words.size()) {
        at.value_of = option;
        return at;
      }
      ++i;
      take_flag(flags, word, words[i]);
    } else if (const CLI::App* sub = find_subcommand(at.command, word)) {
      at.command = sub;
    } else if (!word.starts_with("--")) {
      ++at.positional;
    }
  }
  return at;
}

std::vector<std::string> flags_of(const CLI::App* command) {
  std::vector<std::string> flags;
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
    }
  }
  std::sort(flags.begin(), flags.end());
  flags.erase(std::unique(flags.begin(), flags.end()), flags.end());
  return flags;
}

std::vector<std::string> arguments_of(const Position& at, const Names& names) {
  const std::string name = at.command->get_name();
  const std::string group =
      at.command->get_parent() == nullptr ? "" : at.command->get_parent()->get_name();
  const bool first = at.positional == 0;
  if (name == "completion" && first) return {"bash", "zsh", "fish"};
  if (group == "jobs" && name == "create") return {"@files"};
  if (group == "jobs" && name != "list" && first) return names.of_daemon("/jobs?limit=100");
  if (group == "traces" && name != "list" && first) return names.of_daemon("/traces");
  if (group == "traces" && name == "upload") return {"@files"};
  if (group == "models" && name == "add") return {"@files"};
  if (group == "models" && name != "list" && first) return names.of_daemon("/v1/models");
  if (group == "keys" && name == "revoke" && first) return names.of_daemon("/keys");
  return {};
}

std::vector<std::string> values_of(const CLI::Option& option, const Names& names) {
  const std::string name = option.get_lnames().front();
  if (option.get_type_name() == "PATH") return {"@files"};
  if (name == "model") return names.of_daemon("/v1/models");
  if (name == "profile") return names.of_profiles();
  if (name == "scope") return {"infer", "train", "admin"};
  return {};
}

}  // namespace

std::vector<std::string> complete_words(const CLI::App& app, const std::vector<std::string>& words,
                                        const Environment& environment) {
  Flags flags;
  const Names names{.flags = flags, .environment = environment};
  const std::string last = words.empty() ? "" : words.back();
  const Position at = follow(app, words, flags);
  std::vector<std::string> found;
  if (at.value_of != nullptr) {
    found = values_of(*at.value_of, names);
  } else if (last.starts_with('-')) {
    found = flags_of(at.command);
  } else {
    for (const CLI::App* sub : at.command->get_subcommands([](const CLI::App*) { return true; })) {
      found.push_back(sub->get_name());
    }
    if (found.empty()) found = arguments_of(at, names);
  }
  if (found == std::vector<std::string>{"@files"}) return found;
  std::erase_if(found, [&](const std::string& name) {
    return !is_plain_word(name) || !name.starts_with(last);
  });
  return found;
}

void add_completion_command(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a shell's completion script");
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell] {
    const char* script = *shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish;
    std::fputs(script, stdout);
  });
}

}  // namespace tristill::client
