"""The rooms of services/chassis/ and the doors between them, as rooms.txt has them."""

import re
import subprocess

from stack import BIN, ROOT

CHASSIS = ROOT / "services/chassis"


def rows():
    """{room: the rooms that it may use}; each of these has a row above it, so no two rooms use each other."""
    table = {}
    for line in (CHASSIS / "rooms.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, may_use = line.partition(":")
            assert set(may_use.split()) <= set(table), f"{name} uses a room that stands below it"
            table[name] = set(may_use.split()) | {name}
    return table


def test_each_room_includes_only_what_its_row_names():
    table, read, upwards = rows(), 0, []
    for path in sorted(CHASSIS.rglob("*.[ch]")):
        room = path.relative_to(CHASSIS).parts[0]
        assert room in table, f"{path} is in no room of rooms.txt"
        for line, text in enumerate(path.read_text().splitlines(), 1):
            if found := re.match(r'\s*#\s*include\s+"(.*)"', text):
                read += 1
                to = re.fullmatch(r"chassis/([a-z]+)/[a-z0-9_]+\.h", found[1])
                if found[1] != "version.h" and not (to and to[1] in table[room]):
                    upwards.append(f"{path.relative_to(ROOT)}:{line}: {room} may not include {found[1]}")
    assert read > 500, "this test looks at nothing"
    assert not upwards, "\n".join(upwards)


def test_each_room_links_with_nothing_but_its_row():
    """As a static library and, by `-z defs`, as a shared one; of the objects that are there already (chassis.cmake)."""
    made = subprocess.run(["cmake", "--build", BIN.parent, "--target", "rooms", "--", "-k", "0"], text=True, capture_output=True)
    assert made.returncode == 0, made.stdout + made.stderr
    for room in rows():
        assert (BIN.parent / f"rooms/room_{room}").exists() and (BIN.parent / f"rooms/libshared_{room}.so").exists()


def test_each_room_says_what_is_in_it():
    for room in rows():
        page = (CHASSIS / room / "README.md").read_text()
        for path in (CHASSIS / room).glob("*.[ch]"):
            assert f"`{path.stem}`" in page, f"{room}/README.md does not name {path.name}"
