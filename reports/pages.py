"""All pages and figures from the ledger: pure functions of it, written to a folder without leaving stale files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reports.claim_page import claim_page, figures_of
from reports.coverage_page import coverage_pages
from reports.errata_page import errata_pages
from reports.index_page import index_pages, readme_block
from reports.markdown import anchors
from reports.papers_page import papers_pages
from reports.words import Ledger, complete

START, END = "<!-- verdicts:start -->", "<!-- verdicts:end -->"


def pages(ledger: Ledger) -> dict[str, str]:
    """Every page by its path in the reports folder."""
    ledger = complete(ledger)
    guides = papers_pages(ledger)
    index = index_pages(ledger, guides)
    places = {**anchors(index, "##"), **anchors(guides, "###")}
    claims = {f"claims/{one}.md": claim_page(ledger, one, places) for one in sorted(ledger["claims"])}
    return {**index, **errata_pages(ledger), **coverage_pages(ledger, places), **guides, **claims}


def build(ledger: Ledger, folder: Path, *, readme: Path | None = None, notify: Callable[[str], None] = print) -> int:
    """Write pages and figures below ``folder``, remove generated files that no claim asks for; returns their number.

    A figure whose file already shows its data is not drawn again. ``readme`` is updated between its markers.
    """
    from reports import figures

    ledger = complete(ledger)
    written = pages(ledger)
    for name, content in written.items():
        _write(folder / name, content)
    drawn = set()
    for claim_id, claim in sorted(ledger["claims"].items()):
        for place, figure in enumerate(figures_of(claim), 1):
            path = folder / "figures" / f"{claim_id}-{place}.svg"
            drawn.add(path)
            if not figures.is_current(figure, path):
                notify(f"drawing {path.name}")
                _write(path, figures.svg(figure))
    _remove_stale(folder, {folder / name for name in written} | drawn)
    if readme:
        update_readme(readme, readme_block(ledger))
    return len(written) + len(drawn)


def update_readme(path: Path, block: str) -> bool:
    """Put the block between the markers of a README; False, and no change, where there are none."""
    if not path.exists():
        return False
    content = path.read_text(encoding="utf-8")
    before, start, rest = content.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        return False
    _write(path, f"{before}{START}\n{block.strip()}\n{END}{after}")
    return True


def _write(path: Path, content: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _remove_stale(folder: Path, wanted: set[Path]) -> None:
    """Generated files live in three folders and in numbered continuations of three pages, nowhere else."""
    patterns = ("claims/*.md", "figures/*.svg", "papers/*.md", "index-*.md", "errata-*.md", "coverage-*.md")
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path not in wanted:
                path.unlink()
