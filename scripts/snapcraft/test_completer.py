"""The completer of the snap's commands: what bash gets for the words that are typed, as snapd asks for it."""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

# What `--generate bash` prints is of the same form: a function that reads COMP_WORDS and COMP_CWORD.
GENERATED = """
{function}() {{ COMPREPLY=("{program}: $1 $2 $3: ${{COMP_WORDS[*]}} at $COMP_CWORD"); }}
complete -F {function} {program}
"""

ASKS = """
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
. {completer}
function=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" "$1" "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s' "${{COMPREPLY[@]}}"
"""


class Completer(unittest.TestCase):
    def test_each_command_is_completed_as_its_program(self):
        with tempfile.TemporaryDirectory() as directory:
            app = Path(directory, "app")
            shutil.copy(PROJECT / "config/snap-completer.bash", app)
            for program in ("k8s-dqlite", "dqlite", "k8sd"):
                function = "_" + program.replace("-", "__")
                text = GENERATED.format(program=program, function=function)
                Path(directory, program).write_text(text)
            for typed, answer in [
                ("k8s-dqlite.status --j", "k8s-dqlite: k8s-dqlite --j k8s-dqlite.status: k8s-dqlite status --j at 2"),
                ("k8s-dqlite.certs rotate --ca", "k8s-dqlite: k8s-dqlite --ca rotate: k8s-dqlite certs rotate --ca at 3"),
                ("k8s-dqlite_two.roll-back x", "k8s-dqlite: k8s-dqlite x k8s-dqlite_two.roll-back: k8s-dqlite roll-back x at 2"),
                ("k8s-dqlite.k8sd to", "k8sd: k8sd to k8s-dqlite.k8sd: k8sd to at 1"),
                ("k8s-dqlite.dqlite -s x", "dqlite: dqlite x -s: dqlite -s x at 2"),
            ]:
                asks = ASKS.format(completer=app)
                asked = subprocess.run(["bash", "-c", asks, "bash", *typed.split()], capture_output=True, text=True, check=True)
                self.assertEqual(asked.stdout, answer)

    def test_every_command_has_it(self):
        project = (PROJECT / "snap/snapcraft.yaml").read_text()
        apps = project.split("\napps:\n")[1].split("\nhooks:\n")[0]
        commands = apps.count("    command: ")
        services = apps.count("    daemon: ")
        self.assertEqual(apps.count("    completer: completion/app\n"), commands - services)


if __name__ == "__main__":
    unittest.main()
