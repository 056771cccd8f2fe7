"""How the evidence was made: command, seeds, machine, software, corpus."""

from __future__ import annotations

from coreset.report.evidence import Evidence
from coreset.report.figure import Figure, Missing, Section, Table
from coreset.report.figures.pruning import lost_electrons


def section(evidence: Evidence) -> Section:
    """Tables of what was run on what, and the electrons that predictions lack."""
    sweep, how = evidence.sweep, evidence.how
    items: list[Figure | Table | Missing] = []
    words = evidence.words
    counted = {noun.key: noun.many for noun in (words.member, words.group, words.point)}
    sets = tuple((name, *(f"{size[what]:,}" for what in counted)) for name, size in _sizes(evidence))
    items.append(
        Table(
            "table-corpus",
            "The corpus",
            f"Validation groups are whole {words.groups}, taken out before training, scoring and selection.",
            how,
            ("set", *counted.values()),
            sets,
        )
    )
    made = [("command", sweep["command"])]
    made += [(key, str(sweep[key])) for key in ("date",) if key in sweep]
    made += [("seeds", ", ".join(sweep["seed_names"]))] if sweep.get("seed_names") else []
    made += [("method of the job", evidence.label(evidence.own))]
    made += [(f"protocol: {each}", evidence.protocol_label(each)) for each in evidence.protocols]
    machine = sweep.get("machine")
    if machine:
        made += [("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB")]
    made += [(f"software: {name}", version) for name, version in sorted(sweep.get("software", {}).items())]
    items.append(
        Table(
            "table-made",
            "Command, seeds, machine, software",
            "What repeats this page.",
            how,
            ("what", "value"),
            tuple(made),
            wraps=True,
        )
    )
    scores = sweep.get("scores", {})
    if "given" in scores:
        caption = "They are from a file of the user's, and nothing was trained to score."
        facts = [("SHA-256 of the file", scores["given"])]
        facts += [(f"{words.points} with score 0", f"{scores['zero_everywhere']:,}")]
        items.append(Table("table-scores", "The scores", caption, how, ("what", "value"), tuple(facts), wraps=True))
    elif "rank_correlation" in scores:
        facts = [("rank correlation of the scores of two networks", _number(scores["rank_correlation"]))]
        facts += [(f"{words.points} with score 0 in every network", f"{scores['zero_everywhere']:,}")]
        caption = f"Whether two scoring networks agree, and on how many {words.points} none has a gradient."
        items.append(Table("table-scores", "The scores", caption, how, ("what", "value"), tuple(facts)))
    lost = lost_electrons(evidence)
    if lost is not None:
        items.append(lost)
    return Section("made", "How it was made", "Everything that is needed to repeat it.", tuple(items))


def _sizes(evidence: Evidence) -> list[tuple[str, dict[str, int]]]:
    corpus = evidence.sweep["corpus"]
    order = ["train", "validation", *(f"test.{test}" for test in evidence.tests)]
    return [(name.replace("test.", "test: "), corpus[name]) for name in order if name in corpus]


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)
