// tristill models: list, show, add, remove.
#include "client/commands.h"
#include "client/fields.h"

namespace tristill::client {
namespace {

// A model's name may contain slashes, which stand as they are in the path.
std::string model_path(const std::string& name) {
  std::string path = "/v1/models";
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    path += "/" + percent_encode(name.substr(at, end - at));
    at = end + 1;
  }
  return path;
}

std::string value_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_null() ? "" : json_line(value);
}

ExitCode list_models(Session& session) {
  const Json answer = session.api.get("/v1/models");
  if (session.out.json()) {
    session.out.object(answer);
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& model : list_of(answer, "data")) {
    const std::optional<uint64_t> context = count_of(model, "max_model_len");
    rows.push_back({text_of(model, "id"), context ? std::to_string(*context) : "",
                    text_of(model, "owned_by"), format_time(time_of(model, "created"))});
  }
  session.out.text(rows.empty() ? "no models are served\n"
                                : format_table({"MODEL", "CONTEXT", "OWNER", "CREATED"}, rows));
  return kExitOk;
}

void print_model(Output& out, const Json& model) {
  if (out.json()) {
    out.object(model);
    return;
  }
  std::vector<std::pair<std::string, std::string>> fields = {
      {"model", text_of(model, "id")},
      {"owner", text_of(model, "owned_by")},
      {"created", format_time(time_of(model, "created"))},
      {"context", value_text(field_of(model, "max_model_len"))}};
  const auto add_all = [&](const Json& object) {
    if (!object.is_object()) return;
    for (const auto& [key, value] : object.items()) {
      if (!value.is_object()) fields.emplace_back(printable(key), value_text(value));
    }
  };
  const Json& meta = field_of(model, "meta");
  add_all(meta);
  add_all(field_of(meta, "provenance"));
  out.text(format_fields(fields));
}

void add_show(CLI::App& models, Plan& plan) {
  auto name = std::make_shared<std::string>();
  CLI::App* show = models.add_subcommand("show", "Show a model");
  show->add_option("name", *name, "The model; default: the chosen one");
  show->callback([name, &plan] {
    plan.action = [name](Session& session) {
      const std::string chosen = name->empty() ? session.settings.model.value : *name;
      if (chosen.empty()) throw Failure(kExitUsage, "give the name of a model", "name");
      print_model(session.out, session.api.get(model_path(chosen)));
      return kExitOk;
    };
  });
}

struct AddOptions {
  std::string path, name;
};

void add_add(CLI::App& models, Plan& plan) {
  auto options = std::make_shared<AddOptions>();
  CLI::App* add = models.add_subcommand("add", "Serve a model file of the daemon's machine");
  add->add_option("path", options->path, "The file, as the daemon names it")->required();
  add->add_option("--name", options->name, "Name to serve it under; default: the file's stem");
  add->callback([options, &plan] {
    plan.action = [options](Session& session) {
      require_utf8(options->path, "path");
      require_utf8(options->name, "name");
      Json request = {{"path", options->path}};
      if (!options->name.empty()) request["name"] = options->name;
      const Json answer = session.api.post("/models", request);
      if (session.out.json()) {
        session.out.object(answer);
      } else {
        session.out.text(printable(text_of(answer, "id")) + " is served\n");
      }
      return kExitOk;
    };
  });
}

struct RemoveOptions {
  std::string name;
  bool delete_file = false;
};

void add_remove(CLI::App& models, Plan& plan) {
  auto options = std::make_shared<RemoveOptions>();
  CLI::App* remove = models.add_subcommand("remove", "Serve a model no longer");
  remove->add_option("name", options->name, "The model")->required();
  remove->add_flag("--delete-file", options->delete_file, "Delete its file too");
  remove->callback([options, &plan] {
    plan.action = [options](Session& session) {
      const Json answer = session.api.remove("/models/" + percent_encode(options->name) +
                                             (options->delete_file ? "?delete_file=true" : ""));
      if (session.out.json()) {
        session.out.object(answer);
      } else {
        session.out.text(printable(options->name) + " is served no longer\n");
      }
      return kExitOk;
    };
  });
}

}  // namespace

void add_models_commands(CLI::App& app, Plan& plan) {
  CLI::App* models = app.add_subcommand("models", "The models that are served");
  models->require_subcommand(0, 1);
  models->fallthrough();
  models->add_subcommand("list", "List the models (what models alone does)");
  add_show(*models, plan);
  add_add(*models, plan);
  add_remove(*models, plan);
  // Runs after the callback of the subcommand that was given.
  models->callback([models, &plan] {
    const auto chosen = models->get_subcommands();
    if (chosen.empty() || chosen.front()->get_name() == "list") plan.action = list_models;
  });
}

}  // namespace tristill::client
