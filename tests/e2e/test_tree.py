"""What the source tree promises."""

import re
import subprocess
import sys
from pathlib import Path

from stack import BIN, DECLARED, ROOT, TEAMS

LIBRARIES = r'#\s*include\s*[<"](librdkafka/|rdkafka|avro|civetweb|curl/|sqlite3)'


def sources(folder, *kinds):
    found = [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in kinds]
    assert found, f"no {kinds} in {folder}: this test looks at nothing"
    return found


def test_no_service_includes_a_librarys_header():
    for service in DECLARED:
        for path in sources(f"services/{service}", ".c", ".h"):
            assert not re.search(LIBRARIES, path.read_text()), path
    # The pattern finds what it looks for where it may be.
    assert any(re.search(LIBRARIES, p.read_text()) for p in sources("services/chassis", ".c"))


def test_the_chassis_names_no_team():
    word = re.compile(r"\b(" + "|".join([*TEAMS, "analytics"]) + r")\b", re.IGNORECASE)
    for path in sources("services/chassis", ".c", ".h", ".html", ".sql", ".css", ".cmake"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not word.search(line), f"{path}:{number}: {line}"
            assert path.suffix != ".c" or '"support' not in line, f"{path}:{number}: {line}"


def test_the_settings_table_is_the_programs():
    page = (ROOT / "docs/operations.md").read_text()
    inside = page.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]
    table = subprocess.run([BIN / "support", "--settings-table"], capture_output=True, text=True, check=True).stdout
    assert inside.strip() == table.strip(), "put the output of `build/release/bin/support --settings-table` in there"


def test_operations_has_every_verb():
    page = (ROOT / "docs/operations.md").read_text().split("## Verbs")[1].split("\n## ")[0]
    said = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^\| (`.*?) \|", page, re.M))))
    verbs = {path.name for path in (ROOT / "compose/verbs").iterdir()}
    assert len(verbs) > 20 and not verbs - said, "docs/operations.md lacks them"


def test_the_readme_has_the_gates_command():
    command = re.search(r"&& exec (\./returns .*)", (ROOT / ".ci/run").read_text())[1]
    assert re.search(rf"^{re.escape(command)} +#", (ROOT / "README.md").read_text(), re.M)


def anchors(path):
    """The headings of a document, as a link names them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_the_documents_leads_somewhere():
    pages = [ROOT / "README.md", *sources("docs", ".md"), *sources("services", ".md")]
    found = 0
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), f"{page}: {link}"
            assert not anchor or anchor in anchors(path), f"{page}: {link}: no such heading"
            found += 1
    assert found > 60


def test_functions_and_files_that_the_architecture_names_are_there():
    code = "\n".join(path.read_text() for path in sources("services", ".c", ".h"))
    files = {path.name for path in sources("services", ".c", ".h", ".sql", ".js", ".css")}
    found = 0
    for page in [ROOT / "docs/architecture.md", *sources("docs/decisions", ".md"), *sources("services/chassis", ".md")]:
        text = page.read_text()
        for name in re.findall(r"\b([a-z]+_[a-z_]+)\(\)", text):
            assert re.search(rf"\b{name}\(", code), f"{page}: {name}(): no such function"
            found += 1
        for name in re.findall(r"`(?!tests/)(?:[a-z_.]+/)*([a-z_]+\.(?:c|h|sql|js|css))`", text):
            assert name in files, f"{page}: {name}: no such file"
            found += 1
    assert found > 60


def test_a_build_that_people_run_has_no_crash_points():
    for service in DECLARED:
        assert b"RETURNS_CRASH_AT" not in (BIN / service).read_bytes(), service


def test_the_formatter_leaves_diagrams_as_they_were_drawn():
    """An indented line of a comment may be longer than others, and is neither broken nor joined to its neighbours; prose is."""
    drawn = f" *     poll ─▶ decode{' ─▶ step' * 15}\n *     paused   nothing is taken\n *     slow     each takes its time\n"
    program = Path(sys.executable).with_name("clang-format")
    made = subprocess.run([program, f"--style=file:{ROOT}/.clang-format"], text=True, capture_output=True, check=True,
                          input=f"/* {'long ' * 30}\n{drawn} *\n * {'long ' * 30} */\nint a;\n").stdout
    assert drawn in made
    assert max(len(line) for line in made.replace(drawn, "").splitlines()) <= 120, "it breaks prose"


def named(page):
    """The tests that a document names: a paragraph, list item or row has a file, or a folder of them, then the tests in it."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=- |\|)", page.read_text()):
        code = ""
        for word in re.findall(r"`([^`]+)`", block):
            if word.startswith("tests/"):
                path = ROOT / word
                assert path.exists(), f"{page}: {word}"
                files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
                code = "\n".join(file.read_text() for file in files)
            elif code and re.fullmatch(r"[a-z0-9_]{8,}", word):
                assert re.search(rf"\b{word}\(", code), f"{page}: {word} is in no such file"
                found.append(word)
    return found


def test_every_test_that_the_guarantees_name_is_there():
    page = ROOT / "docs/guarantees.md"
    promises = re.findall(r"^### (.*)\n((?:(?!^##).*\n)*)", page.read_text(), re.M)
    for title, text in promises:
        assert "tests/" in text.partition("\nFails without it:\n")[2], f"{title}: no test holds it"
    assert len(promises) > 50 and len(named(page)) > 200


def test_each_decision_names_a_test_that_holds_it():
    pages = [page for page in sources("docs/decisions", ".md") if page.name != "README.md"]
    index = (ROOT / "docs/decisions/README.md").read_text()
    for page in pages:
        parts = [page.read_text().find(f"**{part}") for part in ("Context.", "Decision.", "Consequence.", "Held by")]
        assert -1 not in parts and parts == sorted(parts), page
        assert f"]({page.name}) {page.read_text().splitlines()[0][6:]}\n" in index, f"{page} is not in the list"
        assert named(page), f"{page} names no test"
    assert len(pages) > 8
