"""Every shell block of README.md and docs/tutorial.md does what the page says, with the page's own words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docs_shell import Command, NamedFile, Outcome, Section, Shell, refusal, sections, shorten

ROOT = Path(__file__).parents[2]
README = {section.title: section for section in sections(ROOT / "README.md")}
(TUTORIAL,) = sections(ROOT / "docs" / "tutorial.md", whole=True)
ELSEWHERE = {
    "make demo": "tests/cli/test_cli_demo.py; installing takes the network",
    "make test": "the gate itself",
    "pip install .": "tests/hosts/test_hosts_packages.py; installing takes the network",
    "pip install '.[staging]'": "tests/hosts/test_hosts_packages.py; installing takes the network",
}
"""Commands that are not run here, with where they are proved."""
INIT = "loadgate init perf && cd perf"
SERVICE = Command("loadgate staging serve --host 0.0.0.0 --no-leak-stack", 0, background=1)
pytestmark = pytest.mark.system


def without_comment(command: Command) -> str:
    """Return the words of a command."""
    return command.text.split("  #")[0].strip()


def prepared(section: Section) -> Section:
    """Add what the page takes as there: the folder that its first section makes, and the reader's service."""
    steps = [step for step in section.steps if not _elsewhere(step)]
    texts = [step.text for step in steps if isinstance(step, Command)]
    before: list[Command | NamedFile] = []
    if not any("loadgate init" in text for text in texts):
        before.append(Command(INIT, 0))
    if not any("--start" in text or "staging serve" in text for text in texts):
        before.append(SERVICE)
    return Section(section.title, [*before, *steps] if texts else [])


def _elsewhere(step: Command | NamedFile) -> bool:
    return isinstance(step, Command) and without_comment(step) in ELSEWHERE


def follow(section: Section, folder: Path) -> list[Outcome]:
    """Do all of a section in a shell of its own."""
    with Shell(folder) as shell:
        return shell.follow(prepared(section))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Follow every section, two at a time, the longest first."""
    if refusal():
        pytest.skip(f"shell blocks: no namespaces of their own here: {refusal()}")
    todo = {"tutorial": TUTORIAL, **README}
    with ThreadPoolExecutor(2) as pool:
        under_way = {
            title: pool.submit(follow, section, tmp_path_factory.mktemp("shell"))
            for title, section in todo.items()
        }
        return {title: result.result() for title, result in under_way.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("title", ["tutorial", *README])
def test_the_commands_of_a_section_do_what_it_says(followed: dict[str, list[Outcome]], title: str) -> None:
    """Each one ends with the status that the page tells, or goes on where the page says that it does."""
    outcomes = followed[title]
    amiss = [outcome for outcome in outcomes if not outcome.as_told]
    # After a void run exit 2 is right for what would have used it; nothing else is excused.
    wrong = [outcome for outcome in amiss if not outcome.busy and not (amiss[0].busy and outcome.code == 2)]
    assert [str(outcome) for outcome in wrong] == []
    if amiss:
        pytest.skip(f"shell blocks: this machine was too busy: {amiss[0]}")


def test_only_known_commands_are_left_out() -> None:
    """Whatever is not run here is in the list, with where it is proved, and the list holds nothing else."""
    commands = [step for section in (*README.values(), TUTORIAL) for step in section.commands]
    assert len(commands) > 20
    assert set(ELSEWHERE) == {without_comment(step) for step in commands if _elsewhere(step)}


def test_a_block_that_does_not_do_what_it_says_is_noticed(tmp_path: Path) -> None:
    """A status that the page does not tell stops the section, and so does a command that does not go on."""
    if refusal():
        pytest.skip(f"shell blocks: no namespaces of their own here: {refusal()}")
    page = tmp_path / "page.md"
    page.write_text(
        "## One\n\n```console\n$ false    # exit code 1\n$ cd /; X=3\n"
        "$ test $PWD$X = /3\n$ false\n$ true\n```\n\n"
        "## Two\n\n```console background\n$ echo started; exit 1\n```\n"
    )
    one, two = sections(page)
    with Shell(tmp_path / "one") as shell:
        assert [outcome.as_told for outcome in shell.follow(one)] == [True, True, True, False]
    with Shell(tmp_path / "two") as shell:
        assert [outcome.as_told for outcome in shell.follow(two)] == [False]


def test_plans_are_made_short_without_a_word_of_their_other_keys(tmp_path: Path) -> None:
    """Stages, probes and the throughput that they can show; windows of the SLA table stay."""
    stage = '[[traffic.stages]]\nrate = "1100/s"\nhold = "2m"\nphase = "warmup"\n'
    plan = f'[traffic]\n{stage}[[probes]]\nevery = "5m"\n'
    (tmp_path / "plan.toml").write_text(plan)
    (tmp_path / "sla.toml").write_text('target = ">= 1000/s"\nevery = "60s"\n')
    for _ in range(2):
        shorten(tmp_path)
        short = plan.replace("1100/s", "110/s").replace("2m", "700ms").replace("5m", "500ms")
        assert (tmp_path / "plan.toml").read_text() == short
        assert (tmp_path / "sla.toml").read_text() == 'target = ">= 90/s"\nevery = "60s"\n'
