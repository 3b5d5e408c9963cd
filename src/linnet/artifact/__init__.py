"""Artifacts: what a stage writes, and how one is known to be complete and current.

An artifact is a directory with a ``manifest.json``. A stage writes it under a
hidden partial name and renames it when it is complete (:func:`create`), so whatever
carries the final name is whole; a killed run leaves only the partial directory, which
the next run resumes (stages that can) or throws away. An artifact that follows a folder is
updated by transactions instead (:mod:`linnet.artifact.generations`).

Two hashes answer two questions:

* ``recipe``  what was it made from? Hash of kind, format, settings and the
  *content* of each input. Equal recipe means that making it again is needless
  (:func:`make`).
* ``content`` what is in it? Hash of the files. Things that differ from run to run
  though nothing changed (wall time, SQLite files, logs) are listed as volatile
  and stay outside, so an input remade with the same content leaves what was
  made from it current. The writer may add a digest of what is in them.

Writers hold a lock beside the artifact, so two runs never write to one place
(``linnet.output``).

An artifact may come from a stranger. Its manifest is checked value by value, the files that it
names lie in it and are regular ones, and a partial directory is taken up only if it holds nothing
but files and directories.
"""

from linnet.artifact.generations import (
    Generation,
    make_generation,
    remove_unused,
    snapshot,
    update,
)
from linnet.artifact.manifest import (
    MANIFEST,
    Artifact,
    FileEntry,
    InputEntry,
    Inputs,
    Manifest,
    Recipe,
    hash_file,
)
from linnet.artifact.reading import (
    is_artifact,
    lineage,
    partial_exists,
    previous_version,
    read,
    within,
)
from linnet.artifact.writing import Draft, create, current, make, refuse_place_of

__all__ = [
    "MANIFEST",
    "Artifact",
    "Draft",
    "FileEntry",
    "Generation",
    "InputEntry",
    "Inputs",
    "Manifest",
    "Recipe",
    "create",
    "current",
    "hash_file",
    "is_artifact",
    "lineage",
    "make",
    "make_generation",
    "partial_exists",
    "previous_version",
    "read",
    "refuse_place_of",
    "remove_unused",
    "snapshot",
    "update",
    "within",
]
