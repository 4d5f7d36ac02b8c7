"""Prints the licences of all that is linked into the program: every crate of the release build, and the two libraries beside it.

Each text stands once, above it the crates that it belongs to. A crate that ships no text is named with the licence that it declares.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")
TARGET = "x86_64-unknown-linux-gnu"


def linked(metadata):
    """The packages that normal dependencies lead to, the program itself left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for dependency in nodes[current]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    packages = {package["id"]: package for package in metadata["packages"]}
    return sorted((packages[name] for name in seen - {root}), key=lambda package: (package["name"], package["version"]))


def texts_of(folder):
    """The licence texts in a folder, by the beginning of their files' names."""
    names = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(TEXTS))
    return [path.read_text(errors="replace").strip() for path in names]


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    owners, bare = {}, []
    for package in linked(metadata):
        label = f"{package['name']} {package['version']} ({package['license'] or 'see the text'})"
        texts = texts_of(pathlib.Path(package["manifest_path"]).parent)
        if not texts:
            bare.append(label)
        for text in texts:
            owners.setdefault(text, []).append(label)
    for label, path in [
        ("DuckDB, libduckdb.so (MIT)", ROOT / ".tools/duckdb/LICENSE"),
        ("TigerBeetle's client, libtb_client.so (Apache-2.0)", ROOT / "LICENSE"),
        ("uPlot, part of the page (MIT)", next(ROOT.glob("src/monitor/web/assets/vendor/uplot-*.LICENSE.txt"))),
    ]:
        owners.setdefault(path.read_text().strip(), []).append(label)
    if len(owners) < 20:
        sys.exit(f"only {len(owners)} licence texts were found: the search looks in the wrong place")
    print("Amber is licensed under the Apache License 2.0 (LICENSE). It is linked with the following.\n")
    if bare:
        print("Without a text of their own, under the licence that each declares:\n")
        print("\n".join(f"  {label}" for label in bare))
    for text, labels in sorted(owners.items(), key=lambda item: item[1]):
        print("\n" + "=" * 100 + "\n")
        print("\n".join(labels))
        print("\n" + "-" * 100 + "\n\n" + text)


if __name__ == "__main__":
    main()
