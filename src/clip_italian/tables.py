"""Tables of figures, rendered for the terminal, Markdown, LaTeX and HTML; and plain Markdown tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clip_italian import console

_NOT_FIGURES = ("format", "left_out")  # numbers of a result file that are no figures
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "→": r"$\to$", "–": "--", "−": "$-$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A figure, its interval if it has one, whether it is the `best` of its row, and `p` if it is a difference."""

    value: float
    interval: tuple[float, float] | None = None
    best: bool = False
    p: float | None = None


@dataclass(frozen=True)
class Table:
    """A row for each figure, a column for each model; cells may be None.

    `percent`: shares are shown in percent; `signed`: figures are differences, shown with their sign.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    percent: bool = False
    signed: bool = False


def less_is_better(figure: str) -> bool:
    """True for median and mean rank."""
    return figure.endswith("_rank")


def figure_table(
    caption: str, columns: Mapping[str, Mapping[str, Any]], names: Iterable[str] | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None, percent: bool = False,
) -> Table:  # fmt: skip
    """Figures of models side by side, as result files have them: numbers by name, with `intervals` if there are any.

    `names` are the rows; by default all figures of the first column. `reference` adds columns that are never best.
    """
    if names is None:
        first = next(iter(columns.values()))
        names = [key for key, value in first.items() if isinstance(value, int | float) and key not in _NOT_FIGURES]
    rows = []
    for name in names:
        known = [figures[name] for figures in columns.values() if name in figures]
        best = (min if less_is_better(name) else max)(known) if len(known) > 1 else None
        cells: list[Cell | None] = [
            Cell(figures[name], figures.get("intervals", {}).get(name), figures[name] == best)
            if name in figures
            else None
            for figures in columns.values()
        ]
        cells += [Cell(figures[name]) if name in figures else None for figures in (reference or {}).values()]
        rows.append((name, tuple(cells)))
    return Table(caption, (*columns, *(reference or {})), tuple(rows), percent)


def show(table: Table) -> None:
    """Print a table; the interval of a single measured column beside its figure, those of several below them."""
    from rich.table import Table as RichTable

    cells_of = list(zip(*(cells for _, cells in table.rows), strict=True))
    measured = [place for place, cells in enumerate(cells_of) if any(cell and cell.interval for cell in cells)]
    beside = len(measured) == 1
    shown = RichTable(title=table.caption, title_justify="left")
    shown.add_column("")
    for place, name in enumerate(table.columns):
        shown.add_column(name, justify="right", overflow="fold")
        if beside and place in measured:
            shown.add_column("95 % interval", justify="right")
    for name, cells in table.rows:
        texts = []
        for place, cell in enumerate(cells):
            figure = "" if cell is None else _short(cell.value)
            interval = " – ".join(map(_short, cell.interval)) if cell is not None and cell.interval else ""
            if place not in measured:
                texts.append(figure)
            else:
                texts += [figure, interval] if beside else [f"{figure}\n{interval}".rstrip()]
        shown.add_row(name, *texts)
    console.output.print(shown)


def heading(name: str) -> str:
    """Name of a figure in a document's table."""
    return name.replace("_", " ").replace("accuracy", "Accuracy")


def cell_texts(table: Table, name: str, cell: Cell | None) -> tuple[str, str, str]:
    """Figure, interval and p of a cell in the row of a figure; empty texts for what it has not."""
    if cell is None:
        return "", "", ""
    form = _format(table, name)
    interval = "" if cell.interval is None else f"[{form(cell.interval[0])}, {form(cell.interval[1])}]"
    p = "" if cell.p is None else "p < 0.01" if cell.p < 0.01 else f"p = {cell.p:.2f}"
    return form(cell.value), interval, p


def markdown(table: Table) -> list[str]:
    """Lines of a Markdown table under its caption; the best figures are bold."""
    lines = [f"**{escape_markdown(table.caption)}**", ""]
    lines.append("| | " + " | ".join(map(escape_markdown, table.columns)) + " |")
    lines.append("|---|" + "---:|" * len(table.columns))
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            figure, interval, p = cell_texts(table, name, cell)
            bold = f"**{figure}**" if cell is not None and cell.best else figure
            texts.append(" ".join(filter(None, (bold, interval, p))))
        lines.append(f"| {heading(name)} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def latex(table: Table, note: str = "") -> list[str]:
    """Lines of a LaTeX table, which needs booktabs; `note` follows the caption."""
    caption = escape_latex(f"{table.caption}. {note}".strip())
    lines = ["", r"\begin{table}", r"\centering", f"\\caption{{{caption}}}"]
    lines += [f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(["", *map(escape_latex, table.columns)]) + r" \\", r"\midrule"]
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            figure, interval, p = map(escape_latex, cell_texts(table, name, cell))
            bold = f"\\textbf{{{figure}}}" if cell is not None and cell.best else figure
            small = " ".join(filter(None, (interval, p)))
            texts.append(f"{bold} {{\\scriptsize {small}}}" if small else bold)
        lines.append(" & ".join([escape_latex(heading(name)), *texts]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def aligned_markdown(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A Markdown table that also reads well as plain text: columns are padded, the first `names` align left."""
    cells = [[one_line(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    columns = list(enumerate(widths))
    rule = ["-" * width if at < names else "-" * (width - 1) + ":" for at, width in columns]
    lines = [[row[at].ljust(width) if at < names else row[at].rjust(width) for at, width in columns] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def one_line(text: str) -> str:
    """The text on one line, without what Markdown would take for HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def escape_markdown(text: str) -> str:
    """The text as a cell or item of Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("*", "\\*").replace("<", "&lt;")


def escape_latex(text: str) -> str:
    """The text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _short(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value < 1 else f"{value:g}"


def _format(table: Table, name: str) -> Callable[[float], str]:
    sign = "+" if table.signed else ""
    if less_is_better(name):
        return lambda value: f"{value:{sign}.1f}".replace("-", "−")
    if table.percent:
        return lambda value: f"{100 * value:{sign}.2f}".replace("-", "−")
    return lambda value: f"{value:{sign}.4f}".replace("-", "−")
