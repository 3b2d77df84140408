"""The check finds what it is for: each fault in a copy of the project's own files."""

import shutil
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from check import Check

PROJECT = Path(__file__).resolve().parents[2]
TASK = next(PROJECT.glob("tests/spread/*/*/task.yaml")).relative_to(PROJECT)
SNAPCRAFT = "snap/snapcraft.yaml"
SPREAD = "spread.yaml"

FAULTS = [
    (SNAPCRAFT, "confinement: strict", "confinement: lax", "'lax' is not one of"),
    (SNAPCRAFT, "confinement: strict", "confinment: strict", "'confinment' was unexpected"),
    (SNAPCRAFT, "    restart-condition: always", "    restart-conditon: always", "'restart-conditon' was unexpected"),
    (SNAPCRAFT, "    stop-timeout: 60s", "    stop-timout: 60s", "'stop-timout' was unexpected"),
    (SNAPCRAFT, "    daemon: simple\n", "", "is for services"),
    (SNAPCRAFT, "    plugin: rust", "    plugin: rusty", "rusty"),
    (SNAPCRAFT, "    rust-path:", "    rust-paths:", "rust-paths"),
    (SNAPCRAFT, "base: core24", "base: core23", "'core23' is none of"),
    (SNAPCRAFT, "    daemon: simple", "    daemon: easy", "'easy' is not one of"),
    (SNAPCRAFT, "  install:\n    plugs:", "  install:\n    plags:", "'plags' was unexpected"),
    (SNAPCRAFT, "summary: ", "summary: " + "x" * 78, "is too long"),
    (SNAPCRAFT, "\ncontact:", "\nother:", "'contact' is missing"),
    (SNAPCRAFT, "icon: snap/", "icon: snop/", "is not there"),
    (SNAPCRAFT, "  check-health:", "  check-helth:", "no such file in snap/hooks"),
    (SNAPCRAFT, "--args-file $SNAP", "--args-file=$SNAP", "snapd refuses"),
    (SNAPCRAFT, "adopt-info: k8s-dqlite", "adopt-info: other", "adopt-info names no part"),
    (SNAPCRAFT, "      craftctl default", "      if craftctl default", "syntax error"),
    (SPREAD, "    summary:", "    sumary:", "unknown key 'sumary'"),
    (SPREAD, "- debian-single", "- single", "it needs a dash"),
    (SPREAD, "suites:", "suits:", "unknown key 'suits'"),
    (str(TASK), "execute:", "exekute:", "unknown key 'exekute'"),
    (str(TASK), "execute:", "exekute:", "'execute' is missing"),
    (str(TASK), "execute: |", "execute: |\n  if true", "syntax error"),
]


def faults_of(root):
    check = Check(root)
    check.snapcraft()
    check.spread()
    return check.faults


class CheckTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        for name in ("snap", "tests/spread"):
            shutil.copytree(PROJECT / name, self.root / name)
        shutil.copy(PROJECT / SPREAD, self.root)

    def test_the_projects_files_are_well_formed(self):
        self.assertEqual(faults_of(self.root), [])

    def test_no_package_of_the_base_is_staged_again(self):
        base = {"BASE_PACKAGES": "libssl3t64 libuv1t64"}
        with unittest.mock.patch.dict("os.environ", base):
            self.assertRegex("\n".join(faults_of(self.root)), "libuv1t64 is in the base already")

    def test_each_fault_is_found(self):
        for name, old, new, told in FAULTS:
            with self.subTest(name=name, new=new):
                path = self.root / name
                text = path.read_text()
                self.assertIn(old, text)
                path.write_text(text.replace(old, new, 1))
                self.assertIn(told, "\n".join(faults_of(self.root)))
                path.write_text(text)

    def test_hooks_are_checked(self):
        hook = self.root / "snap/hooks/instal"
        hook.write_text("#!/bin/sh\nif\n")
        told = "\n".join(faults_of(self.root))
        for part in ("snapd has no such hook", "cannot be executed", "syntax error"):
            self.assertIn(part, told)


if __name__ == "__main__":
    unittest.main()
