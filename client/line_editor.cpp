#include "client/line_editor.h"

#include <histedit.h>
#include <langinfo.h>

#include <clocale>
#include <cstdio>
#include <string_view>

#include "client/failure.h"

namespace tristill::client {
namespace {

struct EditorFree {
  void operator()(EditLine* editor) const { el_end(editor); }
  void operator()(History* history) const { history_end(history); }
};

// Characters are UTF-8 whatever the environment says.
void use_utf8() {
  const bool set = std::setlocale(LC_CTYPE, "") != nullptr;
  if (!set || std::string_view(nl_langinfo(CODESET)) != "UTF-8") {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
}

}  // namespace

struct LineEditor::Impl {
  LineHistory& kept;
  std::unique_ptr<History, EditorFree> history;
  std::unique_ptr<EditLine, EditorFree> editor;
  std::string prompt;
  std::string text;
  bool cancelled = false;

  void remember(const std::string& line) {
    HistEvent event = {};
    ::history(history.get(), &event, H_ENTER, line.c_str());
  }

  static Impl* of(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return static_cast<Impl*>(data);
  }
  static char* prompt_of(EditLine* editor) { return of(editor)->prompt.data(); }
  static unsigned char cancel(EditLine* editor, int) {
    of(editor)->cancelled = true;
    return CC_EOF;
  }
};

LineEditor::LineEditor(LineHistory& history) : impl_(new Impl{.kept = history}) {
  use_utf8();
  impl_->history.reset(history_init());
  impl_->editor.reset(el_init("tristill", stdin, stdout, stderr));
  if (impl_->history == nullptr || impl_->editor == nullptr) {
    throw Failure(kExitResource, "the line editor cannot start");
  }
  HistEvent event = {};
  ::history(impl_->history.get(), &event, H_SETSIZE, static_cast<int>(LineHistory::kMaxLines));
  for (const std::string& line : history.lines()) impl_->remember(line);
  EditLine* editor = impl_->editor.get();
  el_set(editor, EL_CLIENTDATA, impl_.get());
  el_set(editor, EL_PROMPT, Impl::prompt_of);
  el_set(editor, EL_HIST, ::history, impl_->history.get());
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 1);
  el_source(editor, nullptr);  // the user's ~/.editrc
  // While a line is edited Ctrl-C is a key; while an answer comes it is a signal as always.
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(editor, EL_ADDFN, "tristill-cancel", "Leave this line", Impl::cancel);
  el_set(editor, EL_BIND, "^C", "tristill-cancel", nullptr);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() = default;

LineEditor::Got LineEditor::read(const std::string& prompt) {
  impl_->prompt = prompt;
  impl_->cancelled = false;
  el_set(impl_->editor.get(), EL_PREP_TERM, 1);  // keys are keys as soon as the prompt is there
  int length = 0;
  const char* line = el_gets(impl_->editor.get(), &length);
  if (impl_->cancelled) return std::fputs("^C\n", stdout), Got::cancelled;
  if (line == nullptr || length <= 0) return std::fputs("\n", stdout), Got::end;
  impl_->text.assign(line, static_cast<size_t>(length));
  while (impl_->text.ends_with('\n') || impl_->text.ends_with('\r')) impl_->text.pop_back();
  const size_t known = impl_->kept.lines().size();
  impl_->kept.add(impl_->text);
  if (impl_->kept.lines().size() > known) impl_->remember(impl_->text);
  return Got::line;
}

const std::string& LineEditor::text() const { return impl_->text; }

}  // namespace tristill::client
