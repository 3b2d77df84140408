"""Whether snapcraft.yaml, spread.yaml and the tasks are well-formed, without the tools that read them.

    check.py PROJECT_DIR

snapcraft refuses an unknown key, which `snap pack` does not; spread reads over one. Prints a line for each fault.
"""

import re
import subprocess
import sys
from pathlib import Path

import craft_parts
import yaml

# Of a core24 project, as the schema of snapcraft 8 has them.
PROJECT_KEYS = set(
    "name title base build-base version summary description license contact issues source-code website grade "
    "confinement platforms assumes epoch environment layout plugs slots apps hooks parts lint system-usernames "
    "components package-repositories compression adopt-info type icon donation provenance ua-services passthrough".split()
)
REQUIRED = set("name base parts confinement summary description".split())
APP_KEYS = set(
    "command daemon daemon-scope install-mode refresh-mode restart-condition restart-delay start-timeout stop-timeout "
    "stop-mode stop-command post-stop-command reload-command watchdog-timeout success-exit-status timer sockets after "
    "before environment command-chain completer aliases plugs slots passthrough autostart common-id desktop bus-name "
    "activates-on extensions".split()
)
HOOK_KEYS = set("plugs environment command-chain passthrough".split())
HOOKS = set(
    "install configure default-configure pre-refresh post-refresh remove check-health gate-auto-refresh "
    "fde-setup".split()
)
VALUES = {
    "daemon": {"simple", "forking", "oneshot", "notify", "dbus"},
    "install-mode": {"enable", "disable"},
    "refresh-mode": {"restart", "endure", "ignore-running"},
    "restart-condition": {"on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog", "always", "never"},
    "grade": {"stable", "devel"},
    "confinement": {"strict", "classic", "devmode"},
}
SERVICE_KEYS = set("restart-condition restart-delay stop-timeout stop-mode refresh-mode install-mode after before".split())
SPREAD_KEYS = set(
    "project path backends environment suites exclude include reroot rename repack kill-timeout warn-timeout prepare "
    "restore debug prepare-each restore-each debug-each".split()
)
BACKEND_KEYS = set(
    "type key allocate discard systems prepare restore debug prepare-each restore-each debug-each environment variants "
    "location plan storage halt-timeout wait-timeout kill-timeout warn-timeout manual priority memory".split()
)
SUITE_KEYS = set(
    "summary details systems backends variants environment prepare restore debug prepare-each restore-each debug-each "
    "manual priority kill-timeout warn-timeout".split()
)
TASK_KEYS = set(
    "summary details systems backends variants environment samples prepare restore execute debug artifacts residue "
    "manual priority kill-timeout warn-timeout".split()
)
SCRIPTS = ("prepare", "restore", "execute", "debug", "prepare-each", "restore-each", "debug-each", "allocate", "discard")
# What snapd takes as a command: no equals sign.
COMMAND = re.compile(r"[A-Za-z0-9/. _#:$-]*")
SYSTEM = re.compile(r"[a-z]+-[a-z0-9]+([-.][a-z0-9]+)*")
NAME = re.compile(r"[a-z0-9](-?[a-z0-9])*")


class Check:
    """Collects what is wrong."""

    def __init__(self, root):
        self.root = Path(root)
        self.faults = []

    def fault(self, where, text):
        self.faults.append(f"{where}: {text}")

    def read(self, name):
        try:
            document = yaml.safe_load((self.root / name).read_text())
        except (OSError, yaml.YAMLError) as error:
            self.fault(name, error)
            return {}
        if not isinstance(document, dict):
            self.fault(name, "is no mapping")
            return {}
        return document

    def keys(self, where, mapping, allowed, required=()):
        if not isinstance(mapping, dict):
            self.fault(where, "is no mapping")
            return
        for key in mapping:
            # One for a variant: environment/name.
            if str(key).split("/")[0] not in allowed:
                self.fault(where, f"unknown key {key!r}")
        for key in required:
            if not mapping.get(key):
                self.fault(where, f"{key!r} is missing")

    def values(self, where, mapping):
        for key, allowed in VALUES.items():
            if key in mapping and mapping[key] not in allowed:
                self.fault(where, f"{key}: {mapping[key]!r} is none of {', '.join(sorted(allowed))}")

    def scripts(self, where, mapping):
        for key in SCRIPTS:
            if key in mapping:
                self.script(f"{where} {key}", mapping[key])

    def script(self, where, text):
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        if checked.returncode:
            self.fault(where, checked.stderr.strip())

    def snapcraft(self):
        name = "snap/snapcraft.yaml"
        project = self.read(name)
        self.keys(name, project, PROJECT_KEYS, REQUIRED)
        self.values(name, project)
        if not project.get("version") and not project.get("adopt-info"):
            self.fault(name, "needs 'version' or 'adopt-info'")
        if "adopt-info" in project and project["adopt-info"] not in project.get("parts", {}):
            self.fault(name, "adopt-info names no part")
        if not NAME.fullmatch(str(project.get("name", ""))):
            self.fault(name, "the name has other characters than a-z, 0-9 and single dashes")
        for app, keys in project.get("apps", {}).items():
            where = f"{name} apps {app}"
            self.keys(where, keys, APP_KEYS, ["command"])
            self.values(where, keys)
            if not COMMAND.fullmatch(str(keys.get("command", ""))):
                self.fault(where, "the command has characters that snapd refuses")
            if "daemon" not in keys:
                for key in SERVICE_KEYS & set(keys):
                    self.fault(where, f"{key!r} is for services: 'daemon' is missing")
        for hook, keys in project.get("hooks", {}).items():
            self.keys(f"{name} hooks {hook}", keys or {}, HOOK_KEYS)
            if not (self.root / "snap" / "hooks" / hook).exists():
                self.fault(f"{name} hooks {hook}", "there is no such file in snap/hooks")
        for part, keys in project.get("parts", {}).items():
            where = f"{name} parts {part}"
            try:
                craft_parts.validate_part(dict(keys))
            except Exception as error:  # Whatever craft-parts has to say of it.
                self.fault(where, " ".join(str(error).split()))
            for key in keys:
                if key.startswith("override-"):
                    self.script(f"{where} {key}", keys[key])
        for path in sorted((self.root / "snap" / "hooks").glob("*")):
            if path.name not in HOOKS:
                self.fault(path.relative_to(self.root), "snapd has no such hook")
            if not path.stat().st_mode & 0o111:
                self.fault(path.relative_to(self.root), "cannot be executed")
            self.script(path.relative_to(self.root), path.read_text())

    def spread(self):
        name = "spread.yaml"
        project = self.read(name)
        self.keys(name, project, SPREAD_KEYS, ["project", "path", "backends", "suites"])
        self.scripts(name, project)
        for backend, keys in project.get("backends", {}).items():
            where = f"{name} backends {backend}"
            self.keys(where, keys, BACKEND_KEYS, ["systems"])
            self.scripts(where, keys)
            for system in keys.get("systems", []):
                name_of = system if isinstance(system, str) else next(iter(system))
                if not SYSTEM.fullmatch(name_of):
                    self.fault(where, f"{name_of!r} is no system's name for spread: it needs a dash")
        for suite, keys in project.get("suites", {}).items():
            where = f"{name} suites {suite}"
            self.keys(where, keys, SUITE_KEYS, ["summary"])
            self.scripts(where, keys)
            tasks = sorted((self.root / suite).glob("*/task.yaml"))
            if not suite.endswith("/") or not tasks:
                self.fault(where, "is no directory with tasks")
            for path in tasks:
                self.task(str(path.relative_to(self.root)))

    def task(self, name):
        task = self.read(name)
        self.keys(name, task, TASK_KEYS, ["summary", "execute"])
        self.scripts(name, task)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check = Check(sys.argv[1])
    check.snapcraft()
    check.spread()
    for fault in check.faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if check.faults else 0)


if __name__ == "__main__":
    main()
