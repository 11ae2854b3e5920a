"""GitHub Markdown with mathematics: escaping, fences, tables, numbers, and the faults a page must not have."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LIMIT = 58_000

_SPAN = re.compile(r"\$`(?P<safe>.+?)`\$|(?P<code>`[^`\n]+`)|\$(?P<bare>[^$\n]+?)\$", re.DOTALL)
_FORBIDDEN = re.compile(
    r"\\(operatorname|mbox|phantom|newcommand|renewcommand|def|label|require|href|unicode|class|style)\b"
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_WORDS = re.compile(
    r"(?P<kept>\\(?:text\w*|math\w+|begin|end|tag)\s*\{[^{}]*\}(?:\{[^{}]*\})?|\\[A-Za-z]+)"
    r"|(?P<word>[A-Za-z]{3,}(?:[ -][A-Za-z]+)*)"
)
_RELATIONS = {"<=": r"\le", ">=": r"\ge", "==": "=", "!=": r"\ne", "~": r"\sim"}


def number(value: Any, digits: int = 3) -> str:
    """A number as every page prints it: integers in full, others to three significant digits (six for samples)."""
    if value is None:
        return "—"
    if value in ("inf", "-inf", "nan"):
        value = float(value)
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "minus infinite"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def tex(latex: str) -> str:
    """LaTeX that GitHub accepts, also in a table: no refused macro and no bare vertical bar."""
    latex = re.sub(r"\\operatorname\*?\s*\{", r"\\mathrm{", latex.strip())
    latex = latex.replace(r"\mbox{", r"\text{")
    latex = re.sub(r"\\left\s*\\?\|", lambda bar: r"\left\lVert " if "\\|" in bar[0] else r"\left\lvert ", latex)
    latex = re.sub(r"\\right\s*\\?\|", lambda bar: r"\right\rVert " if "\\|" in bar[0] else r"\right\rvert ", latex)
    return upright(latex.replace(r"\|", r"\Vert ").replace("|", r"\vert "))


def inline(latex: str) -> str:
    """Inline mathematics, safe from the Markdown parser."""
    return "$`" + " ".join(tex(latex).split()) + "`$"


def text(prose: str) -> str:
    """Prose with inline mathematics as Markdown: everything else is escaped, and maths stands free of letters."""
    out, last = "", 0
    for span in _SPAN.finditer(prose):
        out += _escape(prose[last : span.start()])
        if span["code"]:
            out += span["code"]
        else:
            # GitHub does not open inline maths after a letter, hyphen, quote or bracket.
            glue = " " if out and not out[-1].isspace() else ""
            out += glue + inline(span["safe"] or span["bare"])
            out += " " if prose[span.end() : span.end() + 1].isalnum() else ""
        last = span.end()
    return out + _escape(prose[last:])


def _escape(prose: str) -> str:
    return re.sub(r"([\\*_\[\]])", r"\\\1", prose).replace("<", "&lt;")


def emphasis(prose: str) -> str:
    """Prose in italics, unless it holds maths, which GitHub would not open beside an asterisk."""
    return text(prose) if "$" in prose else f"*{text(prose)}*"


def plain(prose: str) -> str:
    """Prose without Markdown or maths delimiters, for graphs and image descriptions."""
    return re.sub(r'[`$\\{}"\[\]|<>]', "", prose)


def upright(latex: str) -> str:
    """Words in a formula that LaTeX would set as products of letters, as text."""
    return _WORDS.sub(lambda found: found["kept"] or rf"\text{{{found['word']}}}", latex)


def fence(latex: str) -> str:
    """Display mathematics."""
    return f"```math\n{tex(latex)}\n```"


def equation(formula: str | Sequence[Sequence[str]], lhs: str = "", relation: str = "=") -> str:
    """``lhs relation formula`` as LaTeX; a mapping becomes aligned rows, a tuple a column."""
    sign = _RELATIONS.get(relation, relation)
    sign = rf"\text{{ {sign} }}" if sign.replace(" ", "").isalpha() else sign
    sign = re.sub(r"^\\text\{\s*([^{}]*?)\s*\}$", r"\\text{ \1 }", sign)
    if isinstance(formula, str):
        return f"{lhs} {sign} {formula}" if lhs else formula
    if all(str(name).isdigit() or not name for name, _ in formula):
        column = r"\begin{pmatrix} " + r" \\ ".join(latex for _, latex in formula) + r" \end{pmatrix}"
        return f"{lhs} {sign} {column}" if lhs else column
    rows = [rf"{_name(name)} &{sign} {latex}" for name, latex in formula]
    if lhs:
        rows.insert(0, f"{lhs} : &")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _name(name: str) -> str:
    """A mapping key: LaTeX and single letters as they are, words upright."""
    return name if "\\" in name or len(name) == 1 or "_" in name and " " not in name else rf"\text{{{name}}}"


def short(latex: Any) -> bool:
    """Whether a formula fits into a table cell."""
    return isinstance(latex, str) and len(latex) <= 110 and not re.search(r"\\begin|\\\\|&|\n", latex)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(cell: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", cell.replace("\n", " "))


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(pages: Mapping[str, str], marks: str) -> dict[str, str]:
    """Where each heading of a level stands, as ``page#anchor``; ``marks`` is ``##`` or ``###``."""
    return {
        heading: f"{name}#{slug(heading)}"
        for name, content in pages.items()
        for heading in re.findall(rf"^{marks} (.+)$", content, re.MULTILINE)
    }


def link(label: str, target: str) -> str:
    """A Markdown link; the label is Markdown already and holds no maths."""
    return f"[{label}]({target})"


def page(*blocks: str) -> str:
    """Blocks separated by one empty line; empty blocks vanish."""
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def paginate(stem: str, head: str, parts: Sequence[str]) -> dict[str, str]:
    """Parts packed in order into pages below the size limit: ``stem.md``, ``stem-2.md`` and so on."""
    packed: list[list[str]] = [[]]
    room = LIMIT - len(head.encode()) - 200
    for part in parts:
        if packed[-1] and sum(len(one.encode()) + 2 for one in packed[-1]) + len(part.encode()) > room:
            packed.append([])
        packed[-1].append(part)
    names = [stem if k == 0 else f"{stem}-{k + 1}" for k in range(len(packed))]
    local = [name.rpartition("/")[2] + ".md" for name in names]
    trail = " · ".join(link(f"part {k + 1}", name) for k, name in enumerate(local)) if len(names) > 1 else ""
    title = head.partition("\n")[0]
    return {
        f"{name}.md": page(head if k == 0 else title, trail, *group, trail)
        for k, (name, group) in enumerate(zip(names, packed, strict=True))
    }


def faults(markdown: str) -> list[str]:
    """What GitHub would render wrongly in a page, one line each; empty for a good page."""
    found = [f"forbidden macro {macro[0]}" for macro in _FORBIDDEN.finditer(markdown)]
    prose = _FENCE.sub("", markdown)
    if "```" in prose:
        found.append("a fence that does not stand on its own lines")
    found += ["display maths outside a fence"] * ("$$" in markdown)
    for line in prose.splitlines():
        found += [f"bar inside maths: {span[0]}" for span in _SPAN.finditer(line) if span["safe"] and "|" in span[0]]
        found += [f"bare dollars: {span[0]}" for span in _SPAN.finditer(line) if span["bare"]]
        found += [f"maths after a letter or bracket: {hit[0]}" for hit in re.finditer(r"[^\s>]\$`[^$]*`\$", line)]
        found += [f"maths inside a link: {hit[0]}" for hit in re.finditer(r"\[[^\]\n]*\$`[^\]\n]*\]\(", line)]
    if len(markdown.encode()) >= 60_000:
        found.append(f"{len(markdown.encode())} bytes, allowed: below 60000")
    return found
