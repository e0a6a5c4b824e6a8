"""Writes vendored.txt: the pure-Python libraries that the package brings along, each with its hash (`make pins`).

What is compiled comes from Debian, and has to stand in `control`.
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FROM_DEBIAN = {
    "lz4": "python3-lz4",
    "numpy": "python3-numpy",
    "pillow": "python3-pil",
    "zstandard": "python3-zstandard",
}
NOT_NEEDED = {"capture-agent", "pip"}  # sqlite-utils asks for pip, for a command of its own


def main() -> None:
    resolve = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    oldest = ["--python-version", "3.11", "--only-binary", ":all:", "--target", "nowhere"]
    command = [sys.executable, "-m", "pip", *resolve, *oldest, str(HERE.parents[1])]
    done = subprocess.run(command, capture_output=True, check=True)
    depends = (HERE / "control").read_text()
    lines = []
    for found in json.loads(done.stdout)["install"]:
        name, version = found["metadata"]["name"].lower().replace("_", "-"), found["metadata"]["version"]
        origin = found["download_info"]
        if name in NOT_NEEDED:
            continue
        if origin["url"].endswith("-none-any.whl"):
            lines.append(f"{name}=={version} --hash=sha256:{origin['archive_info']['hashes']['sha256']}")
        elif FROM_DEBIAN.get(name, "?") not in depends:
            sys.exit(f"{name} is compiled: name its Debian package here and in control")
    (HERE / "vendored.txt").write_text("# Made by `make pins`.\n" + "\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
