"""A comparison as files: report.md, report.tex, report.html, and its plots as PNG and SVG."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clip_italian.evaluate import plots
from clip_italian.evaluate.comparison import PUBLISHED, RANKS, Cell, ComparedSet, Table
from clip_italian.files.atomic import staged
from clip_italian.pages import write_page

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "→": r"$\to$", "–": "--", "−": "$-$",
}  # fmt: skip


def write(compared: Sequence[ComparedSet], title: str, folder: Path) -> list[str]:
    """Write the report's files into `folder`, each in place at the end; return their names."""
    drawings = [plots.panels(part) for part in compared]
    images = [f"plot-{number}.png" for number in range(1, len(compared) + 1)]
    texts = {"report.md": markdown(compared, title, images), "report.tex": latex(compared, title)}
    for name, text in texts.items():
        with staged(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for image, some in zip(images, drawings, strict=True):
        with staged(folder / image) as temporary:
            plots.write_png(some, temporary)
        with staged((folder / image).with_suffix(".svg")) as temporary:
            temporary.write_text(plots.svg(some, background="white"), encoding="utf-8")
    svgs = [[plots.svg([panel]) for panel in some] for some in drawings]
    write_page(
        folder / "report.html", "comparison.html", title=title, sets=list(zip(compared, svgs, strict=True)),
        parts=cell_parts, heading=heading,
    )  # fmt: skip
    return [*texts, *images, *(Path(image).with_suffix(".svg").name for image in images), "report.html"]


def heading(name: str) -> str:
    """What a table calls a figure."""
    return name.replace("_", " ").replace("accuracy", "Accuracy")


def cell_parts(table: Table, name: str, cell: Cell | None, signed: bool = False) -> tuple[str, str, str]:
    """Texts of a cell: figure, interval and p, empty where there is none."""
    if cell is None:
        return "", "", ""
    form = _form(table, name, signed)
    interval = "" if cell.interval is None else f"[{form(cell.interval[0])}, {form(cell.interval[1])}]"
    p = "" if cell.p is None else "p < 0.01" if cell.p < 0.01 else f"p = {cell.p:.2f}"
    return form(cell.value), interval, p


def markdown(compared: Sequence[ComparedSet], title: str, images: Sequence[str]) -> str:
    """The report as Markdown; `images` are the plots beside it."""
    lines = [f"# {title}", ""]
    for part, image in zip(compared, images, strict=True):
        lines += [f"## {part.title}", ""]
        lines += [f"- {name}: {_escape_md(value)}" for name, value in part.facts.items() if value]
        lines += [*(f"- {_escape_md(note)}" for note in part.notes), ""]
        for table in part.tables:
            lines += _markdown_table(table, signed=False)
        lines += [f"![Figures with their intervals]({image})", ""]
        for table in part.differences:
            lines += _markdown_table(table, signed=True)
        for model, mistakes in part.confusions.items():
            lines += [f"Most frequent mistakes of {_escape_md(model)}:", ""]
            lines += ["| class | taken for | pictures | share of the class |", "|---|---|---:|---:|"]
            lines += [
                f"| {_escape_md(m['class'])} | {_escape_md(m['taken_for'])} | {m['count']} | {m['share']:.0%} |"
                for m in mistakes
            ]
            lines.append("")
        lines += ["Models:", ""]
        for model, facts in part.models.items():
            known = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
            lines.append(f"- {_escape_md(model)}: {_escape_md(known)}")
        lines.append("")
    return "\n".join(lines)


def latex(compared: Sequence[ComparedSet], title: str) -> str:
    """The tables as LaTeX for a paper that loads booktabs."""
    lines = [f"% {title}; needs \\usepackage{{booktabs}}"]
    for part in compared:
        lines += ["", f"% {part.title}: {part.facts['data']}, fingerprint {part.facts['fingerprint']}"]
        for signed, tables in ((False, part.tables), (True, part.differences)):
            for table in tables:
                reference = any(column.endswith(PUBLISHED) for column in table.columns)
                lines += _latex_table(table, signed, part.notes[0] if reference else "")
    return "\n".join(lines) + "\n"


def _form(table: Table, name: str, signed: bool) -> Callable[[float], str]:
    sign = "+" if signed else ""
    if name in RANKS:
        return lambda value: _minus(f"{value:{sign}.1f}")
    if table.percent:
        return lambda value: _minus(f"{100 * value:{sign}.2f}")
    return lambda value: _minus(f"{value:{sign}.4f}")


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _markdown_table(table: Table, signed: bool) -> list[str]:
    lines = [f"**{_escape_md(table.caption)}**", ""]
    lines.append("| | " + " | ".join(map(_escape_md, table.columns)) + " |")
    lines.append("|---|" + "---:|" * len(table.columns))
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            figure, interval, p = cell_parts(table, name, cell, signed)
            bold = f"**{figure}**" if cell is not None and cell.best else figure
            texts.append(" ".join(filter(None, (bold, interval, p))))
        lines.append(f"| {heading(name)} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _latex_table(table: Table, signed: bool, note: str) -> list[str]:
    caption = _escape_latex(f"{table.caption}. {note}".strip())
    lines = ["", r"\begin{table}", r"\centering", f"\\caption{{{caption}}}"]
    lines += [f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(["", *map(_escape_latex, table.columns)]) + r" \\", r"\midrule"]
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            figure, interval, p = map(_escape_latex, cell_parts(table, name, cell, signed))
            bold = f"\\textbf{{{figure}}}" if cell is not None and cell.best else figure
            small = " ".join(filter(None, (interval, p)))
            texts.append(f"{bold} {{\\scriptsize {small}}}" if small else bold)
        lines.append(" & ".join([_escape_latex(heading(name)), *texts]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _escape_md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("*", "\\*").replace("<", "&lt;")


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
