"""Build the snap of snap/snapcraft.yaml without the snap store: craft-parts runs the parts, `snap pack` packs them.

    pack.py OUTPUT_DIR

As snapcraft does it, but for two things that it says: stage-packages are for the base's Ubuntu, so the libraries of this
machine stand in for them; and the Rust toolchain is the one that is installed. Fails for a library that neither a package of
the snap nor the base brings.

    SNAP_BIN        the `snap` program, for `snap pack`
    SNAP_WORK       where the parts are built (default: target/snap-parts)
    BASE_PACKAGES   the packages of the base; without them nothing is said of libraries that are left to it
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import craft_parts
import yaml

PROJECT = Path(__file__).resolve().parents[2]
# Of snapcraft.yaml's keys, those that a snap.yaml has, too.
META_KEYS = (
    "name title summary description base type confinement grade environment plugs slots layout epoch assumes license"
).split()
# In a snap.yaml they stand in a mapping of their own.
LINK_KEYS = "contact donation issues source-code website".split()


def without_packages(parts):
    """The parts as craft-parts can build them on any machine, and the packages that they name."""
    packages = {}
    for name, part in parts.items():
        packages[name] = part.pop("stage-packages", [])
        part.pop("build-packages", None)
        # Filters and names for what the packages would have brought.
        if part["plugin"] == "rust":
            part.pop("organize", None)
        if packages[name]:
            part.pop("prime", None)
        if part["plugin"] == "rust":
            part["rust-channel"] = "none"
    return packages


def libraries_of(program):
    """What the loader brings for a program."""
    printed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for line in printed.splitlines():
        name, arrow, path = (part.strip() for part in line.partition("=>"))
        if arrow and path:
            yield name, path.split()[0]


def plain(package):
    """The name of a package of libraries, whose 64-bit times have a name of their own in some releases."""
    return package.removesuffix("t64")


def package_of(path):
    """The package of this machine that a file is from; None for what is built from sources."""
    path = os.path.realpath(path)
    # A package may have it by the path before /usr was merged.
    for known in (path, path.removeprefix("/usr")):
        found = subprocess.run(["dpkg-query", "--search", known], capture_output=True, text=True)
        if found.returncode == 0:
            return plain(found.stdout.split(":")[0])
    return None


def stage_from_this_machine(prime, packages):
    staged = {plain(package) for names in packages.values() for package in names}
    base = {plain(package) for package in os.environ.get("BASE_PACKAGES", "").split()}
    programs = [path for path in prime.glob("**/bin/*") if path.is_file()]
    # Of all first: programs find what is in the snap already.
    libraries = dict(library for program in programs for library in libraries_of(program))
    (prime / "lib").mkdir(exist_ok=True)
    for name, path in libraries.items():
        package = package_of(path)
        if package is None or package in staged:
            shutil.copy(os.path.realpath(path), prime / "lib" / name)
        elif base and package not in base:
            sys.exit(f"{name} of {package} is neither in the base nor in stage-packages of snap/snapcraft.yaml")


def build_parts(project, work):
    manager = craft_parts.LifecycleManager(
        {"parts": project["parts"]},
        application_name="snapcraft",
        cache_dir=work / "cache",
        work_dir=work,
        base=project["base"],
        project_name=project["name"],
        project_vars={"version": "", "grade": project["grade"]},
        project_vars_part_name=project["adopt-info"],
        ignore_local_sources=["*.snap", "target", ".git"],
        project_dir=str(PROJECT),
    )
    with manager.action_executor() as executor:
        executor.execute(manager.plan(craft_parts.Step.PRIME), stdout=sys.stderr, stderr=sys.stderr)
    return manager.project_info


def write_meta(project, prime, version):
    meta = {key: project[key] for key in META_KEYS if key in project}
    meta["version"] = version
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    meta["architectures"] = [architecture.stdout.strip()]
    meta["apps"] = project["apps"]
    links = {key: project[key] for key in LINK_KEYS if key in project}
    meta["links"] = {key: [link] if isinstance(link, str) else link for key, link in links.items()}
    if "icon" in project:
        icon = PROJECT / project["icon"]
        (prime / "meta" / "gui").mkdir(parents=True, exist_ok=True)
        shutil.copy(icon, prime / "meta" / "gui" / f"icon{icon.suffix}")
    hooks = dict(project.get("hooks", {}))
    directory = prime / "meta" / "hooks"
    directory.mkdir(parents=True, exist_ok=True)
    for hook in sorted((PROJECT / "snap" / "hooks").iterdir()):
        shutil.copy(hook, directory / hook.name)
        (directory / hook.name).chmod(0o755)
        hooks.setdefault(hook.name, {})
    meta["hooks"] = {name: hook or {} for name, hook in hooks.items()}
    (prime / "meta" / "snap.yaml").write_text(yaml.safe_dump(meta, sort_keys=False))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    output = Path(sys.argv[1]).resolve()
    project = yaml.safe_load((PROJECT / "snap" / "snapcraft.yaml").read_text())
    packages = without_packages(project["parts"])
    work = Path(os.environ.get("SNAP_WORK", PROJECT / "target" / "snap-parts")).resolve()
    # A part is built anew, from cargo's own cache.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.chdir(PROJECT)
    info = build_parts(project, work)
    prime = Path(info.prime_dir)
    stage_from_this_machine(prime, packages)
    write_meta(project, prime, info.get_project_var("version"))
    for binary in (prime / "bin").iterdir():
        subprocess.run(["strip", "--strip-debug", binary], check=True)
    subprocess.run([os.environ.get("SNAP_BIN", "snap"), "pack", str(prime), str(output)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
