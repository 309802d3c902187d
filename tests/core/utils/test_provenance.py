import importlib.util
import json
import shutil
import subprocess
import sys

import forehand.utils.provenance
from forehand.utils.provenance import provenance


def test_it_says_what_was_run_and_on_what():
    facts = provenance(seed=3)
    assert facts["command"] == sys.argv
    assert facts["seed"] == 3
    assert {"forehand", "torch", "numpy", "safetensors"} <= facts["versions"].keys()
    assert json.loads(json.dumps(facts)) == facts


def test_the_commit_is_that_of_our_own_source_only(tmp_path):
    copy = tmp_path / "site-packages" / "provenance.py"
    copy.parent.mkdir()
    shutil.copy(forehand.utils.provenance.__file__, copy)
    spec = importlib.util.spec_from_file_location("copied_provenance", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def git(*arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        return subprocess.check_output(["git", *identity, *arguments], cwd=tmp_path, text=True).strip()

    def commit():
        module.git_commit.cache_clear()
        return module.git_commit()

    assert commit() is None  # no checkout
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "somebody else's project")
    assert commit() is None  # installed within one, and no part of it
    git("add", "--all")
    git("commit", "--quiet", "--message", "now it is")
    assert commit() == git("rev-parse", "HEAD")
    copy.write_text(copy.read_text() + "\n# changed\n")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"
