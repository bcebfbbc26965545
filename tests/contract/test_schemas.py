"""The committed JSON Schemas match the code: a change of a message changes its file."""

from tools.schemas import FOLDER, schemas

REMEDY = (
    "write them again with `python -m tools.schemas` and check the difference: "
    "a new field with a default keeps its version"
)


def test_code_and_files_match() -> None:
    in_code = dict(schemas())
    in_files = {file.name: file.read_text() for file in FOLDER.glob("*.json")}

    different = [name for name, content in in_code.items() if in_files.get(name) != content]
    assert not different, f"{different} differ: {REMEDY}"
    assert set(in_files) == set(in_code), f"files without a message: {set(in_files) - set(in_code)}"
