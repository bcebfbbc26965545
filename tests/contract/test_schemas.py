"""The committed JSON Schemas say what the code says: a message that changes its form changes its
file too.
"""

from tools.schemas import FOLDER, schemas

WRITE_THEM = "write them anew with `python -m tools.schemas`, and look at what changed: a new field with a default keeps its version"


def test_code_and_files_agree() -> None:
    in_code = dict(schemas())
    in_files = {file.name: file.read_text() for file in FOLDER.glob("*.json")}

    different = [name for name, content in in_code.items() if in_files.get(name) != content]
    assert not different, f"{different} differ: {WRITE_THEM}"
    assert set(in_files) == set(in_code), f"files of no message: {set(in_files) - set(in_code)}"
