"""Run the tasks of spread.yaml without spread: the same scripts, in the same order, on the same machines.

    tasks.py PROJECT_DIR VARIANT [SUITE_OR_TASK...]

What it knows of spread is what our tasks use: backend scripts with ADDRESS, systems, environment, one variant of it at a time,
prepare, execute, restore and debug of suites and tasks, and MATCH and NOMATCH. Lines that begin with "figure:" are repeated at the end.
"""

import glob
import os
import secrets
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import yaml

# As spread defines them.
HELPERS = """
set -eu -o pipefail
MATCH() { local text; text=$(cat); grep -q -E -- "$@" <<<"$text" || { echo "no match for $* in:"; echo "$text"; return 1; }; } >&2
NOMATCH() { local text; text=$(cat); ! grep -q -E -- "$@" <<<"$text" || { echo "a match for $* in:"; echo "$text"; return 1; }; } >&2
"""
# Far above what a task takes.
TIMEOUT_S = 900


class Machine:
    """The system that the tasks of a suite run on."""

    def __init__(self, root, project, system, variant):
        self.root, self.path, self.name = root, project["path"], system
        self.backend = project["backends"]["snapbox"]
        self.password = secrets.token_hex(16)
        self.environment = {
            "SPREAD_PATH": self.path,
            "SPREAD_SYSTEM": system,
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin",
            "LC_ALL": "C.UTF-8",
        }
        for key, value in project.get("environment", {}).items():
            # NAME/VARIANT is for that variant alone.
            key, _, of_variant = key.partition("/")
            if of_variant in ("", variant):
                self.environment[key] = self.host_value(str(value))

    def host_value(self, value):
        if value.startswith("$(HOST:"):
            command = value[len("$(HOST:") : -1]
            value = subprocess.run(["bash", "-c", command], cwd=self.root, check=True, capture_output=True, text=True)
            return value.stdout.strip()
        return value

    def local(self, script):
        environment = dict(os.environ, SPREAD_SYSTEM=self.name, SPREAD_PASSWORD=self.password)
        ran = subprocess.run(
            ["bash", "-eu", "-c", 'ADDRESS() { echo "$1" >/dev/null; }\n' + script],
            env=environment, cwd=self.root, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S,
        )
        return ran.returncode == 0

    def allocate(self, files):
        if not self.local(self.backend["allocate"]):
            sys.exit(f"{self.name} cannot be started")
        # The one that allocate gave the address of.
        listed = subprocess.run(
            [self.root / "scripts/snapbox", "list"], check=True, capture_output=True, text=True
        ).stdout.split()
        self.head = "single" if "single" in listed else "node1"
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for pattern in files:
                    for path in glob.glob(str(self.root / pattern)):
                        tar.add(path, os.path.relpath(path, self.root))
            archive.seek(0)
            self.run(f"mkdir -p {self.path} && tar -C {self.path} -xf -", "/", stdin=archive)

    def discard(self):
        self.local(self.backend["discard"])

    def run(self, script, directory, stdin=subprocess.DEVNULL):
        """Whether it ended well, and what it printed."""
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.environment.items())
        text = f"{HELPERS}{exports}cd {shlex.quote(str(directory))}\n{script}"
        command = [self.root / "scripts/snapbox", "in", self.head, "bash", "-c", text]
        try:
            ran = subprocess.run(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as late:
            return False, (late.output or b"").decode(errors="replace") + f"\nnot within {TIMEOUT_S} s"
        return ran.returncode == 0, ran.stdout.decode(errors="replace")


def is_for(task, variant):
    return variant in yaml.safe_load(task.read_text()).get("variants", [variant])


def run_task(machine, suite, suite_dir, name, figures):
    task = yaml.safe_load((machine.root / suite_dir / name / "task.yaml").read_text())
    directory = f"{machine.path}/{suite_dir}{name}"
    started = time.monotonic()
    steps = [
        (suite.get("prepare-each"), f"{machine.path}/{suite_dir}"),
        (task.get("prepare"), directory),
        (task["execute"], directory),
    ]
    failed = None
    for script, where in steps:
        if script and not failed:
            good, printed = machine.run(script, where)
            figures += [f"{suite_dir}{name}: {line[8:]}" for line in printed.splitlines() if line.startswith("figure: ")]
            if not good:
                failed = printed
    if failed:
        for script, where in [(task.get("debug"), directory), (suite.get("debug-each"), f"{machine.path}/{suite_dir}")]:
            if script:
                failed += "\n--- debug\n" + machine.run(script, where)[1]
    for script, where in [(task.get("restore"), directory), (suite.get("restore-each"), f"{machine.path}/{suite_dir}")]:
        if script:
            good, printed = machine.run(script, where)
            if not good and not failed:
                failed = "restore: " + printed
    took = time.monotonic() - started
    print(f"{'FAILED' if failed else 'ok    '} {suite_dir}{name} ({took:.0f} s)", flush=True)
    if failed:
        print("\n".join("    " + line for line in failed.splitlines()), flush=True)
    return not failed


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    root, variant, wanted = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:]
    project = yaml.safe_load((root / "spread.yaml").read_text())
    os.environ["K8S_DQLITE_ROOT"] = str(root)
    failures, figures = 0, []
    for suite_dir, suite in project["suites"].items():
        tasks = (root / suite_dir).glob("*/task.yaml")
        names = sorted(path.parent.name for path in tasks if is_for(path, variant))
        if wanted:
            names = [name for name in names if f"{suite_dir}{name}".startswith(tuple(wanted))]
        if not names:
            continue
        machine = Machine(root, project, suite["systems"][0], variant)
        try:
            machine.allocate(project["include"])
            good, printed = machine.run(suite.get("prepare", "true"), machine.path)
            if not good:
                sys.exit(f"preparing {suite_dir} failed:\n{printed}")
            for name in names:
                failures += not run_task(machine, suite, suite_dir, name, figures)
        finally:
            machine.discard()
    for figure in figures:
        print(f"figure {figure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
