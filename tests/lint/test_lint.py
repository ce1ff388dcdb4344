"""Each rule of tools/lint.py finds the violation that is seeded here, and no other rule does."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import lint  # noqa: E402

HEADER = "// What it is for.\n#pragma once\n"


def long_function(lines, head="int f(int x) {"):
    return head + "\n" + "  x += 1;\n" * (lines - 2) + "}\n"


class Seeded(unittest.TestCase):
    def findings(self, files, rules=None):
        """What lint says of a folder with these files, as (path, line, rule)."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            return [(f.path, f.line, f.rule) for f in lint.lint(root, rules)]

    def only(self, rule, path, text, line=1, **more):
        self.assertEqual(self.findings({path: text, **more}), [(path, line, rule)])

    def clean(self, path, text, **more):
        self.assertEqual(self.findings({path: text, **more}), [])


class Arrows(Seeded):
    def includes(self, source, header):
        files = {source: f'#include "{header}"\n', header: HEADER}
        return self.findings(files, ["arrows"])

    def test_each_arrow_backwards_is_found(self):
        for source, header in [
                ("base/a.cpp", "model/a.h"), ("model/a.cpp", "model/engine/a.h"),
                ("model/format/a.cpp", "train/job/a.h"), ("model/engine/a.cpp", "server/http/a.h"),
                ("server/jobs/a.cpp", "train/a.h"), ("server/app.cpp", "train/student/a.h"),
                ("train/job/a.cpp", "train/a.h"), ("train/trace/a.cpp", "model/engine/a.h"),
                ("train/a.cpp", "server/a.h"), ("client/a.cpp", "model/a.h"),
                ("server/http/a.cpp", "server/openai/a.h"), ("server/jobs/a.cpp", "server/app.h"),
                ("server/openai/a.cpp", "server/jobs/a.h"), ("base/a.cpp", "tests/a.h")]:
            with self.subTest(source=source, header=header):
                self.assertEqual(self.includes(source, header), [(source, 1, "arrows")])

    def test_arrows_of_the_design_are_allowed(self):
        for source, header in [
                ("model/a.cpp", "base/a.h"), ("model/engine/a.cpp", "model/format/a.h"),
                ("server/jobs/a.cpp", "train/job/a.h"), ("server/app.cpp", "server/jobs/a.h"),
                ("train/run/a.cpp", "model/engine/a.h"), ("train/a.cpp", "train/trace/a.h"),
                ("client/a.cpp", "base/a.h"), ("tests/server/a.cpp", "train/job/a.h")]:
            with self.subTest(source=source, header=header):
                self.assertEqual(self.includes(source, header), [])

    def test_an_include_that_is_not_from_the_root_is_found(self):
        files = {"base/a.cpp": '#include "b.h"\n', "base/b.h": HEADER}
        self.assertEqual(self.findings(files), [("base/a.cpp", 1, "arrows")])

    def test_a_folder_of_no_layer_is_found(self):
        self.only("arrows", "extras/a.cpp", "int a;\n")


class Libraries(Seeded):
    def test_each_library_outside_its_folders_is_found(self):
        for path, include in [
                ("server/app.cpp", "torch/torch.h"), ("train/job/a.cpp", "ATen/ATen.h"),
                ("model/a.cpp", "c10/util/Half.h"), ("server/app.cpp", "spdlog/spdlog.h"),
                ("base/b.cpp", "spdlog/spdlog.h"), ("model/a.cpp", "nlohmann/json.hpp"),
                ("train/a.cpp", "nlohmann/json_fwd.hpp"), ("model/a.cpp", "immintrin.h"),
                ("server/openai/a.cpp", "httplib.h"), ("server/app.cpp", "sqlite3.h"),
                ("server/app.cpp", "curl/curl.h"), ("server/settings.cpp", "CLI/CLI.hpp"),
                ("server/http/a.cpp", "prometheus/counter.h"), ("client/a.cpp", "openssl/evp.h"),
                ("train/a.cpp", "sentencepiece_processor.h"), ("tests/a.cpp", "regex"),
                ("model/a.cpp", "iostream")]:
            with self.subTest(path=path, include=include):
                self.only("libraries", path, f"\n#include <{include}>\n", line=2)

    def test_libraries_in_their_folders_are_allowed(self):
        for path, include in [
                ("train/student/a.cpp", "torch/torch.h"), ("base/log.cpp", "spdlog/spdlog.h"),
                ("train/trace/a.cpp", "nlohmann/json.hpp"), ("client/a.cpp", "curl/curl.h"),
                ("model/kernels/avx2.cpp", "immintrin.h"), ("server/http/a.cpp", "httplib.h"),
                ("server/jobs/a.cpp", "sqlite3.h"), ("client/main.cpp", "iostream")]:
            with self.subTest(path=path, include=include):
                self.clean(path, f"#include <{include}>\n")


class Sizes(Seeded):
    def test_a_line_of_101_columns_is_found_and_one_of_100_is_not(self):
        self.only("columns", "base/a.cpp", "\n//" + "x" * 99 + "\n", line=2)
        self.clean("base/a.cpp", "//" + "x" * 98 + "\n//" + "é" * 98 + "\n")
        self.only("columns", "tools/a.py", "#" * 101)

    def test_long_headers_and_sources_are_found(self):
        self.clean("base/a.h", HEADER + "\n" * 298)
        self.only("file-length", "base/a.h", HEADER + "\n" * 299, line=301)
        self.clean("base/a.cpp", "\n" * 700)
        self.only("file-length", "base/a.cpp", "\n" * 701, line=701)

    def test_a_function_of_71_lines_is_found_and_one_of_70_is_not(self):
        for head in ["int f(int x) {", "int A::f(int x) const noexcept {", "TEST(A, Fact) {",
                     "A::A(int x) : a_(x), b_{x} {", "template <class T>\nT f(T x) {",
                     "int g() { return 1; }\nint f(int x) {", "auto f = [](int x) {",
                     "struct A {\n  int f(int x) {", "std::vector<int> f(struct stat x) {",
                     'extern "C" {\nnamespace a {\nint f(int x) {']:
            before = head.count("\n") - head.startswith("template")
            closing = {"struct A {\n  int f(int x) {": "};\n",
                       'extern "C" {\nnamespace a {\nint f(int x) {': "}\n}\n"}.get(head, "")
            extra = 1 if head.startswith("template") else 0
            with self.subTest(head=head):
                self.clean("base/a.cpp", long_function(70 - extra, head) + closing)
                self.only("function-length", "base/a.cpp",
                          long_function(71 - extra, head) + closing, line=before + 1)

    def test_braces_in_comments_literals_and_initializers_do_not_count(self):
        lines = ["// {", "/* { */", 'const char* a = "{";', "char b = '{';",
                 'const char* c = R"x({ " )x";', "int d[] = {1, 2};", "uint64_t e = 1'000'000;",
                 "#define F(x) do {", "enum class G { a, b };", "struct H { int i = 0; };"]
        text = "\n".join(lines) + "\n"
        files = {"base/a.cpp": text + long_function(71)}
        self.assertEqual(self.findings(files, ["function-length"]),
                         [("base/a.cpp", len(lines) + 1, "function-length")])

    def test_a_long_namespace_or_class_is_no_function(self):
        self.clean("base/a.cpp", "namespace a {\nclass B final : public C {\n" +
                   "  int f() { return 1; }\n" * 90 + "};\n}\n")

    def test_kernels_may_be_long(self):
        self.clean("model/kernels/avx2.cpp", long_function(200))


class Words(Seeded):
    def test_names_without_an_idea_are_found(self):
        for path in ["base/utils.cpp", "base/string_utils.cpp", "base/common/a.cpp",
                     "base/misc.cpp", "base/json-helpers.cpp", "base/manager.cpp"]:
            with self.subTest(path=path):
                self.only("names", path, "int a;\n")
        self.only("names", "base/a.cpp", "\nclass JobManager {};\n", line=2)
        self.only("names", "base/a.cpp", "namespace tristill::utils {}\n")
        self.clean("base/a.cpp", "// the manager of utils\nclass Commonplace {};\n")

    def test_open_tasks_are_found_in_any_text(self):
        for marker in lint.MARKERS:
            with self.subTest(marker=marker):
                self.only("open-tasks", "base/a.cpp", f"\n// {marker}: later\n", line=2)
                self.only("open-tasks", "docs/a.md", f"{marker} later\n")
        self.clean("base/a.cpp", "// " + lint.MARKERS[0].lower() + " and " +
                   lint.MARKERS[0] + "S\n")

    def test_hosts_of_package_indexes_are_found_in_any_text(self):
        for host in lint.PACKAGE_HOSTS:
            with self.subTest(host=host):
                self.only("package-hosts", "tools/a.sh", f"\nfetch https://{host}/x\n", line=2)


class Code(Seeded):
    def test_a_catch_outside_the_listed_files_is_found(self):
        caught = "\nvoid f() try {} catch (...) {}\n"
        self.only("catch-sites", "model/sampler.cpp", caught, line=2)
        self.clean("server/main.cpp", caught)
        self.clean("tests/model/a_test.cpp", caught)
        self.only("catch-sites", "server/main.cpp", "int main() {}\n")
        self.clean("model/sampler.cpp", "// catch (...) here\nint catcher(int);\n")

    def test_a_header_without_a_purpose_or_a_guard_is_found(self):
        self.only("headers", "base/a.h", "#pragma once\n// late\n")
        self.only("headers", "base/a.h", "// What it is for.\n")

    def test_macros_are_found(self):
        self.only("macros", "base/a.cpp", "\n#define TWICE(x) ((x) * 2)\n", line=2)
        self.clean("base/check.h", HEADER + "#define CHECK(x) (x)\n")

    def test_regexes_and_sleeping_tests_are_found(self):
        self.only("regexes-and-sleeps", "base/a.cpp", "std::regex r;\n")
        self.only("regexes-and-sleeps", "tests/base/a_test.cpp",
                  "\nstd::this_thread::sleep_for(1ms);\n", line=2)


class Objects(unittest.TestCase):
    """Rules on what the compiler made, with the compiler of the machine."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "build/release/bin").mkdir(parents=True)
        (self.root / "build/release/build.ninja").touch()

    def compile(self, text, to, *flags):
        target = self.root / "build/release" / to
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["g++", "-O0", "-x", "c++", "-", "-o", str(target), *flags], input=text,
                       text=True, check=True)

    def rules_broken(self):
        return [(finding.rule, finding.message) for finding in lint.lint(self.root)]

    def test_a_weak_symbol_in_an_isa_object_is_found(self):
        inline = "inline int shared(int x) { return x; }\nint f(int x) { return shared(x); }\n"
        self.compile(inline, "model/kernels/scalar.cpp.o", "-c")
        self.assertEqual(self.rules_broken(), [])
        self.compile(inline, "model/kernels/avx2.cpp.o", "-c")
        self.assertEqual(self.rules_broken(), [("isa-objects", "weak symbol shared(int)")])

    def test_a_daemon_that_links_torch_is_found(self):
        self.compile("int f() { return 1; }", "libtorch_cpu.so", "-shared", "-fPIC")
        library = str(self.root / "build/release/libtorch_cpu.so")
        main = "int f(); int main() { return f(); }"
        self.compile(main, "bin/tristill-worker", "-x", "none", library)
        self.assertEqual(self.rules_broken(), [])
        self.compile(main, "bin/tristilld", "-x", "none", library)
        self.assertEqual([rule for rule, _ in self.rules_broken()], ["daemon-without-torch"])


class Itself(unittest.TestCase):
    def test_every_rule_says_what_it_wants(self):
        for name, check in lint.RULES.items():
            self.assertTrue(check.__doc__, name)

    def test_every_catch_site_has_a_reason(self):
        self.assertTrue(all(reason for reason in lint.CATCH_SITES.values()))


if __name__ == "__main__":
    unittest.main()
