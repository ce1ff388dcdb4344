"""What is installed: the programs, their manual pages, the completions of the shells."""

import shutil
import subprocess
import sys

import pytest

from client_program import BIN, SOURCE, environment

sys.path.insert(0, str(SOURCE / "tools"))
import make_man_pages  # noqa: E402


def test_the_manual_pages_are_what_the_programs_say():
    for name, text in make_man_pages.pages(BIN).items():
        kept = (make_man_pages.PAGES / name).read_text()
        assert kept == text, f"docs/man/{name} is out of date: run tools/make_man_pages.py"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed here")
@pytest.mark.parametrize("page", ["tristill.1", "tristilld.1"])
def test_the_manual_pages_are_well_formed(page):
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", str(make_man_pages.PAGES / page)],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def install(component, prefix):
    """The files that a component brings, relative to the prefix."""
    if not (BIN.parent / "cmake_install.cmake").exists():
        pytest.skip("the programs do not lie in a build folder")
    subprocess.run(["cmake", "--install", str(BIN.parent), "--prefix", str(prefix),
                    "--component", component], check=True, capture_output=True)
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}


def test_the_client_is_installed_with_what_belongs_to_it(tmp_path):
    assert install("client", tmp_path) == {
        "bin/tristill", "share/man/man1/tristill.1",
        "share/bash-completion/completions/tristill", "share/zsh/site-functions/_tristill",
        "share/fish/vendor_completions.d/tristill.fish"}
    done = subprocess.run([str(tmp_path / "bin/tristill"), "--version"], capture_output=True,
                          text=True, env=environment())
    assert done.stdout.startswith("tristill ")
    script = tmp_path / "share/bash-completion/completions/tristill"
    assert "complete -F _tristill tristill" in script.read_text()


def test_the_daemon_is_installed_with_its_manual_page(tmp_path):
    assert {"bin/tristilld", "share/man/man1/tristilld.1"} <= install("daemon", tmp_path)
