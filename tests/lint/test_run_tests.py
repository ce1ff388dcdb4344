"""tools/run_tests.py counts what a test program did, also when it crashes or hangs."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import run_tests  # noqa: E402

PROGRAM = r"""
#include <gtest/gtest.h>
#include <csignal>
#include <cstdlib>
#include <unistd.h>
TEST(A, Passes) {}
TEST(A, Fails) { EXPECT_EQ(1, 2); }
TEST(A, Skips) { GTEST_SKIP() << "no reason"; }
TEST(B, Crashes) { std::raise(SIGSEGV); }
TEST(B, PassesAfterTheCrash) {}
TEST(C, Leaves) { std::_Exit(0); }
TEST(C, PassesAfterLeaving) {}
TEST(D, Hangs) { pause(); }
class E : public testing::TestWithParam<int> {};
TEST_P(E, Passes) { EXPECT_GT(GetParam(), 0); }
INSTANTIATE_TEST_SUITE_P(Some, E, testing::Values(1, 2));
"""


class GtestPrograms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.program = cls.folder / "made_test"
        subprocess.run(["g++", "-O0", "-x", "c++", "-", "-o", str(cls.program), "-lgtest",
                        "-lgtest_main", "-lpthread"], input=PROGRAM, text=True, check=True)

    def run_filtered(self, wanted):
        outcome = run_tests.run_gtest(self.program, wanted, self.folder)
        return (outcome.passed, [name for name, _ in outcome.failures], outcome.skipped)

    def test_passes_failures_and_skips_are_counted(self):
        self.assertEqual(self.run_filtered("A.*:Some/E.*"),
                         (3, ["A.Fails"], ["A.Skips: no reason"]))

    def test_a_crash_fails_its_test_and_the_others_still_run(self):
        self.assertEqual(self.run_filtered("A.*:B.*"),
                         (2, ["A.Fails", "B.Crashes"], ["A.Skips: no reason"]))

    def test_leaving_early_with_status_0_is_a_failure(self):
        self.assertEqual(self.run_filtered("A.Passes:C.*"), (2, ["C.Leaves"], []))

    def test_a_program_that_takes_too_long_is_ended(self):
        seconds, run_tests.PROGRAM_SECONDS = run_tests.PROGRAM_SECONDS, 1
        self.addCleanup(setattr, run_tests, "PROGRAM_SECONDS", seconds)
        self.assertEqual(self.run_filtered("A.Passes:D.*"), (1, ["D.Hangs"], []))

    def test_a_filter_that_matches_nothing_passes_nothing(self):
        self.assertEqual(self.run_filtered("Nothing.*"), (0, [], []))


class Suites(unittest.TestCase):
    def test_targets_follow_from_suites(self):
        def targets(*suites):
            listed = subprocess.run([ROOT / "tools/run_tests.py", "--targets", *suites],
                                    capture_output=True, text=True, check=True)
            return listed.stdout.strip()
        self.assertEqual(targets(), "all")
        self.assertEqual(targets("lint"), "")
        self.assertEqual(targets("model:A.*", "lint", "server"), "model_test server_test")
        self.assertEqual(targets("model", "e2e"), "all")
        self.assertEqual(targets("launch"), "tristilld tristill tristill-worker")

    def test_an_unknown_suite_is_refused_by_name(self):
        ran = subprocess.run([ROOT / "tools/run_tests.py", "nonsense"], capture_output=True,
                             text=True)
        self.assertEqual(ran.returncode, 64)
        self.assertIn("no suite nonsense", ran.stderr)


if __name__ == "__main__":
    unittest.main()
