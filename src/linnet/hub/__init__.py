"""Models from anywhere and to anywhere: a directory here, or a name on the Hugging Face hub.

``find`` and ``locate`` download what is not here yet, ``pull`` makes a model
directory of it, ``push`` uploads one. The network is used for a source that was
named as one on the hub and for nothing else, and nothing is told to the hub but
what is asked of it (no telemetry). Of a repository only weights in safetensors,
settings, templates, vocabularies and the README are fetched: never a pickle,
never code.
"""

from linnet.hub.download import MODEL_FILES, TOKENIZER_FILES, find, locate, pull
from linnet.hub.source import PREFIX, Located, Source, parse
from linnet.hub.upload import Upload, plan_upload, push

__all__ = [
    "MODEL_FILES",
    "PREFIX",
    "TOKENIZER_FILES",
    "Located",
    "Source",
    "Upload",
    "find",
    "locate",
    "parse",
    "plan_upload",
    "pull",
    "push",
]
