"""What the names of labelled pictures mean, on a disk and in the test set's bucket: <label>/.../picture."""

import unicodedata


def is_hidden(path: str) -> bool:
    """Whether `path`, with "/" between its parts, is a hidden file or folder (".name") or lies in one."""
    return any(part.startswith(".") for part in path.split("/"))


def label_of(folder: str) -> str:
    """The label that a folder's name means, in Unicode's NFC form: systems write the same name differently."""
    return unicodedata.normalize("NFC", folder)
