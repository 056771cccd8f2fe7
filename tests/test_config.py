"""Every mistake in a job file is told with file, line and key, what was expected and found, and the way out."""

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from coreset.config import Job
from coreset.errors import RequestError
from coreset.job_file import load_job
from coreset.methods import METHODS

JOBS = sorted((Path(__file__).parents[1] / "jobs").glob("*.yaml"))

MINIMAL = """\
name: job
corpus:
  source: data/al.zarr
  test: {bulk: "test/*"}
"""

WHOLE = """\
name: job
corpus: {source: data/al.zarr, train: "train/*", validation: 0.1, group: "(.*)_", test: {bulk: "test/*"}}
descriptor: {neighbours: 40}
network: {hidden: [900, 900], activation: gelu, output: relu}
training: {optimizer: adamw, learning_rate: 1.0e-3, batch: 1024, epochs: 60}
score: {method: grand, epoch: 10, seeds: 10}
select:
  method: ccs
  prune: 0.9
  cutoff: auto
  strata: 100
  seed: 0
  proxy:
    seeds: 2
coverage: {against: validation}
output: {format: parquet, descriptor: false}
cluster: {address: auto, device: auto}
"""

Load = Callable[..., Job]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    path = tmp_path / "job.yaml"

    def load(text: str, *overrides: str) -> Job:
        path.write_text(text, encoding="utf-8")
        return load_job(path, overrides)

    return load


def message(load: Load, text: str, *overrides: str) -> str:
    with pytest.raises(RequestError) as caught:
        load(text, *overrides)
    told = str(caught.value)
    assert "\n" not in told, "one paragraph"
    return told


def keys(model: type[BaseModel] = Job, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, (*above, name))


def dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


KEYS = sorted(keys())


def with_line(path: tuple[str, ...], text: str) -> tuple[str, int]:
    """The minimal job with a value at a key, and the line that the key stands in."""
    tree = yaml.safe_load(MINIMAL)
    node = tree
    for step in path[:-1]:
        node = node.setdefault(step, {})
    node[path[-1]] = "PLACEHOLDER"
    found = yaml.safe_dump(tree, sort_keys=False)
    line = next(number for number, row in enumerate(found.split("\n"), 1) if "PLACEHOLDER" in row)
    return found.replace("PLACEHOLDER", text), line


def test_a_minimal_job_gets_the_defaults_of_the_design(load: Load) -> None:
    job = load(MINIMAL)
    assert (job.corpus.train, job.corpus.validation) == ("train/*", 0.1)
    assert job.descriptor.neighbours == 40
    assert (job.network.hidden, job.network.activation, job.network.output) == ((900,) * 12, "gelu", "relu")
    training = job.training
    assert (training.optimizer, training.learning_rate, training.batch, training.epochs) == ("adamw", 1e-3, 1024, 60)
    assert (job.score.method, job.score.epoch, job.score.seeds) == ("grand", 10, 10)
    select = job.select
    assert (select.method, select.prune, select.cutoff, select.strata, select.seed) == ("ccs", 0.9, "auto", 100, 0)
    assert job.coverage.against == "validation"
    assert (job.output.format, job.output.descriptor) == ("parquet", False)
    assert (job.cluster.address, job.cluster.device) == ("auto", "auto")


def test_the_example_of_the_design_is_the_minimal_job_spelt_out(load: Load) -> None:
    changed = {"network.hidden=[900,900,900,900,900,900,900,900,900,900,900,900]", "corpus.group=null"}
    assert load(WHOLE, *changed) == load(MINIMAL)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_job_files_load_and_name_themselves_and_a_corpus_that_is_there(path: Path) -> None:
    job = load_job(path)
    assert job.name == path.stem
    assert (path.parent / job.corpus.source / "zarr.json").is_file()


def test_there_are_job_files() -> None:
    assert "al.yaml" in {path.name for path in JOBS}


def test_queries_are_a_number_or_chosen(load: Load) -> None:
    assert load(MINIMAL).coverage.queries == 10_000
    assert load(MINIMAL, "coverage.queries=2").coverage.queries == 2
    assert load(MINIMAL, "coverage.queries=auto").coverage.queries == "auto"


def test_settings_are_frozen(load: Load) -> None:
    job = load(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        job.select.prune = 0.5  # type: ignore[misc]


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_known(path: tuple[str, ...], load: Load) -> None:
    typo = (*path[:-1], path[-1][:-1] + "x" + path[-1][-1])
    text, line = with_line(typo, "1")
    told = message(load, text)
    siblings = [key[-1] for key in KEYS if key[:-1] == path[:-1]]
    assert difflib.get_close_matches(typo[-1], siblings, n=1) == [path[-1]]
    assert f"job.yaml:{line}: {dotted(typo)}: unknown key; did you mean {path[-1]!r}?" in told


@pytest.mark.parametrize("above", sorted({path[:-1] for path in KEYS}), ids=lambda path: dotted(path) or "top")
def test_a_key_like_no_other_lists_those_that_are_known(above: tuple[str, ...], load: Load) -> None:
    text, line = with_line((*above, "qqqq"), "1")
    told = message(load, text)
    siblings = [key[-1] for key in KEYS if key[:-1] == above]
    assert f"job.yaml:{line}: {dotted((*above, 'qqqq'))}: unknown key" in told
    assert all(name in told for name in siblings)


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_value_of_the_wrong_type_is_named_with_its_line(path: tuple[str, ...], load: Load) -> None:
    text, line = with_line(path, "[[1]]")
    told = message(load, text)
    assert f"job.yaml:{line}: {dotted(path)}" in told
    assert "expected" in told
    assert "found [1" in told or "found [[1" in told


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("name", "''", "name"),
        ("name", "../up", "name"),
        ("name", "a/b", "name"),
        ("name", "3", "expected a valid string, found 3"),
        ("name", "x" * 201, "expected at most 200 characters, found 'xxx"),
        ("corpus.validation", "0", "greater than 0, found 0"),
        ("corpus.validation", "1", "less than 1, found 1"),
        ("corpus.validation", "-0.1", "greater than 0, found -0.1"),
        ("corpus.validation", ".nan", "found nan"),
        ("corpus.group", "'('", "expected a regular expression, found '('"),
        ("corpus.group", "'abc'", "one (…) group that names the trajectory, found 0"),
        ("corpus.group", "'(a)(b)'", "one (…) group that names the trajectory, found 2"),
        ("corpus.stratify", "colour", "'temperature' or 'composition', found 'colour'"),
        ("corpus.test", "{}", "corpus.test"),
        ("corpus.test", "{bulk: 3}", "corpus.test.bulk: expected a valid string, found 3"),
        ("descriptor.neighbours", "0", "greater than or equal to 1, found 0"),
        ("descriptor.neighbours", "4.5", "valid integer"),
        ("descriptor.neighbours", "'40'", "expected a valid integer, found '40'"),
        ("descriptor.distances", "1", "expected a valid boolean, found 1"),
        ("descriptor.handedness", "left", "'right' or 'free', found 'left'"),
        ("descriptor.tie_tolerance", "0", "found 0"),
        ("network.hidden", "[]", "network.hidden"),
        ("network.hidden", "900", "found 900"),
        ("network.hidden", "[900, 0]", "network.hidden.1: expected greater than or equal to 1, found 0"),
        ("network.activation", "tanh", "'gelu' or 'relu', found 'tanh'"),
        ("network.output", "sigmoid", "'relu' or 'linear', found 'sigmoid'"),
        ("training.optimizer", "sgd", "'adamw', found 'sgd'"),
        ("training.learning_rate", "0", "greater than 0, found 0"),
        ("training.learning_rate", "fast", "expected a valid number, found 'fast'"),
        ("training.learning_rate", ".inf", "found inf"),
        ("training.learning_rate", ".nan", "found nan"),
        ("training.weight_decay", "-1", "found -1"),
        ("training.weight_decay", ".inf", "found inf"),
        ("training.batch", "0", "found 0"),
        ("training.batch", "1e3", "valid integer, found 1000.0"),
        ("training.epochs", "0", "found 0"),
        ("score.seeds", "0", "found 0"),
        ("score.method", "el2n", "'grand' or 'file', found 'el2n'"),
        ("select.method", "ccz", "found 'ccz'; did you mean 'ccs'?"),
        ("select.method", "grnad", "did you mean 'grand'?"),
        ("select.prune", "1", "less than 1, found 1"),
        ("select.prune", "-0.5", "found -0.5"),
        ("select.prune", "'0.9'", "expected a valid number, found '0.9'"),
        ("select.prune", "90%", "found '90%'"),
        ("select.cutoff", "1.0", "below 1, found 1.0"),
        ("select.cutoff", "automatic", "'auto'"),
        ("select.strata", "0", "found 0"),
        ("select.seed", "-1", "found -1"),
        ("select.seed", "9223372036854775808", "found 9223372036854775808"),
        ("select.proxy.cutoffs", "[0.1, 1.5]", "select.proxy.cutoffs.1"),
        ("evaluation.methods", "[ccs, radnom]", "did you mean 'random'?"),
        ("evaluation.seeds", "0", "found 0"),
        ("coverage.queries", "1", "expected 'auto' or an integer of at least 2, found 1"),
        ("coverage.queries", "4000.5", "found 4000.5"),
        ("coverage.exact_up_to", "-1", "found -1"),
        ("coverage.queries", "true", "found True"),
        ("coverage.queries", "many", "found 'many'"),
        ("corpus.test", "{../bulk: 'test/*'}", "expected names of letters, digits, '-' and '_'"),
        ("corpus.test", "{'': 'test/*'}", "found ''"),
        ("sweep.methods", "[ccs, full]", "found 'full', which is always trained; leave it out"),
        ("output.format", "csv", "'parquet', found 'csv'"),
        ("cluster.device", "tpu", "found 'tpu'"),
        ("cluster.workers", "0", "found 0"),
        ("cluster.workers", "1000001", "expected less than or equal to 1000000, found 1000001"),
        ("training.workers", "1000000000", "expected less than or equal to 1000000, found 1000000000"),
        ("sweep.studies.score_runs", "[1, 1001]", "expected less than or equal to 1000, found 1001"),
        ("sweep.noise.seeds", "1", "expected greater than or equal to 2, found 1"),
        ("coverage", "null", "coverage: expected"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_line(key: str, text: str, expected: str, load: Load) -> None:
    job, line = with_line(tuple(key.split(".")), text)
    told = message(load, job)
    assert f"job.yaml:{line}: {key}" in told
    assert expected in told


SECTIONS_OF_SEEDS = ("score", "select.proxy", "evaluation", "energy", "sweep", "sweep.studies", "sweep.noise")


@pytest.mark.parametrize("section", SECTIONS_OF_SEEDS)
def test_more_networks_than_can_be_planned_are_refused(section: str, load: Load) -> None:
    told = message(load, MINIMAL, f"{section}.seeds=1001")
    assert f"{section}.seeds: expected less than or equal to 1000, found 1001" in told
    load(MINIMAL, f"{section}.seeds=1000")
    load(MINIMAL.replace("name: job", f"name: {'x' * 200}"), "cluster.workers=1000000", "training.workers=1000000")


@pytest.mark.parametrize("value", ["1e-9", "1", "1e-2"])
def test_a_tie_tolerance_that_the_descriptor_refuses_is_refused_with_the_job(value: str, load: Load) -> None:
    if value == "1e-9":
        assert load(MINIMAL, f"descriptor.tie_tolerance={value}").descriptor.resolve().tie_tolerance == 1e-9
    else:
        assert "descriptor.tie_tolerance" in message(load, MINIMAL, f"descriptor.tie_tolerance={value}")


@pytest.mark.parametrize(
    ("missing", "key"),
    [
        ("name: job\n", "name"),
        ("  source: data/al.zarr\n", "corpus.source"),
        ('  test: {bulk: "test/*"}\n', "corpus.test"),
    ],
)
def test_a_missing_key_is_named(missing: str, key: str, load: Load) -> None:
    assert missing in MINIMAL
    assert f"{key}: expected this key, found none" in message(load, MINIMAL.replace(missing, ""))


@pytest.mark.parametrize(
    ("select", "refused"),
    [
        ("{prune: 0.5, cutoff: 0.51}", True),
        ("{prune: 0.5, cutoff: 0.5}", False),
        ("{prune: 0.5, cutoff: 0}", False),
        ("{prune: 0, cutoff: 0.1}", True),
    ],
)
def test_a_cutoff_above_the_pruning_rate_is_refused_and_equality_is_legal(
    select: str, refused: bool, load: Load
) -> None:
    text = MINIMAL + f"select: {select}\n"
    if refused:
        told = message(load, text)
        assert "select.cutoff: expected at most select.prune" in told
        assert "lower the cutoff or prune more" in told
    else:
        assert load(text).select.prune >= load(text).select.cutoff  # type: ignore[operator]


def test_tf32_is_refused_without_a_gpu(load: Load) -> None:
    wanted = "score.precision=tf32"
    for device in ("auto", "cpu"):
        with pytest.raises(RequestError, match=f"score.precision: tf32 .* cluster.device: cuda, found {device}"):
            load(MINIMAL, wanted, f"cluster.device={device}")
    assert load(MINIMAL, wanted, "cluster.device=cuda").score.precision == "tf32"
    assert load(MINIMAL).score.precision == "float32"


def test_methods_that_take_no_cutoff_may_have_any(load: Load) -> None:
    text = MINIMAL + "select: {method: random, prune: 0.1, cutoff: 0.5}\nevaluation: {methods: [random, grand]}\n"
    assert load(text).select.cutoff == 0.5
    assert "select.cutoff" in message(load, text.replace("grand", "cut-random"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("1.e-3", 1e-3), (".5", 0.5), ("2", 2.0), ("+1e2", 100.0), ("1.5e+1", 15.0)],
)
def test_numbers_are_read_as_everybody_means_them(text: str, value: float, load: Load) -> None:
    job = load(MINIMAL + f"training: {{learning_rate: {text}}}\n")
    assert job.training.learning_rate == value
    assert load(MINIMAL, f"training.learning_rate={text}") == job


@pytest.mark.parametrize("text", ["1e-3x", "1-3", "e5", "1e"])
def test_what_only_looks_like_a_number_is_text(text: str, load: Load) -> None:
    assert f"found {text!r}" in message(load, MINIMAL + f"training: {{learning_rate: {text}}}\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: [\n", 2),
        ("name: a\n\tcorpus: b\n", 2),
        ("name: a\nname: b: c\n", 2),
        ("name: a\ncorpus: {source: x\n", 3),
        ('name: "a\n', 2),
        ("name: a\n  corpus: 1\n", 2),
        ("name: a\ncorpus: *nowhere\n", 2),
        ("name: !!python/object/apply:os.system [exit]\n", 1),
        ("name: a\n---\nname: b\n", 2),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int, load: Load) -> None:
    told = message(load, text)
    assert re.search(r"job\.yaml:(\d+): expected YAML, found a mistake: ", told)
    assert f"job.yaml:{line}:" in told


@pytest.mark.parametrize("text", ["", "# nothing\n", "3", "[1, 2]", "just words", "null"])
def test_a_file_without_keys_is_refused(text: str, load: Load) -> None:
    assert "expected keys such as 'name:' and 'corpus:'" in message(load, text)


def test_bytes_that_are_no_text_and_paths_that_are_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    for name, expected in (
        ("binary.yaml", "expected a readable job file in UTF-8"),
        ("missing.yaml", "expected a job file, found nothing there"),
        (".", "expected a readable job file"),
        ("binary.yaml/below", "expected a"),
    ):
        with pytest.raises(RequestError, match=expected):
            load_job(tmp_path / name)


def test_an_alias_bomb_is_refused_before_it_grows(load: Load) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    told = message(load, "\n".join(rows))
    assert "job.yaml:2:" in told
    assert "an alias (*name); write the value out" in told


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (MINIMAL + "name: other\n", 5, "name"),
        (MINIMAL + "select:\n  prune: 0.5\n  strata: 3\n  prune: 0.9\n", 8, "prune"),
        (MINIMAL + "select: {prune: 0.5, prune: 0.5}\n", 5, "prune"),
        (MINIMAL + "select:\n  proxy:\n    seeds: 1\n    'seeds': 1\n", 8, "seeds"),
    ],
)
def test_a_doubled_key_is_refused(text: str, line: int, key: str, load: Load) -> None:
    told = message(load, text)
    assert f"job.yaml:{line}:" in told
    assert f"key {key!r} twice" in told


def test_overrides_apply_in_order_make_sections_and_have_types(load: Load) -> None:
    job = load(
        MINIMAL,
        "select.prune=0.99",
        "select.cutoff=auto",
        "select.proxy.seeds=5",
        "network.hidden=[3, 4]",
        "output.descriptor=true",
        "corpus.test.defects=defects/*",
        "name=first",
        "name=second",
        "corpus.group=^(.*)=x",
        " select.strata = 7",
    )
    assert (job.select.prune, job.select.cutoff, job.select.proxy.seeds, job.select.strata) == (0.99, "auto", 5, 7)
    assert job.network.hidden == (3, 4)
    assert job.output.descriptor is True
    assert dict(job.corpus.test) == {"bulk": "test/*", "defects": "defects/*"}
    assert job.name == "second"
    assert job.corpus.group == "^(.*)=x"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("select.prnue=0.5", "select.prnue: unknown key; did you mean 'prune'?"),
        ("selct.prune=0.5", "selct: unknown key; did you mean 'select'?"),
        ("select.proxy.seed=1", "select.proxy.seed: unknown key; did you mean 'seeds'?"),
        ("select.prune=much", "select.prune: expected a valid number, found 'much'"),
        ("select.prune=2", "select.prune: expected less than 1, found 2"),
        ("select.prune=", "select.prune: expected a valid number, found None"),
        ("select=3", "select: expected"),
        ("name.x=1", "--set name.x=1: 'name' holds a value, not keys"),
        ("select.prune", "--set select.prune: expected key.path=value, such as select.prune=0.99"),
        ("=1", "--set =1: expected key.path=value"),
        ("select.prune=[", "--set select.prune=[:1: expected YAML"),
        ("select.prune=*x", "--set select.prune=*x:1: expected YAML, found a mistake: an alias"),
        ("select={prune: 0.5, prune: 0.6}", "key 'prune' twice"),
        ("corpus.source=null", "corpus.source: expected a valid string, found None"),
    ],
)
def test_a_bad_override_is_told_as_such(override: str, expected: str, load: Load) -> None:
    assert expected in message(load, MINIMAL, override)


def test_a_bad_override_of_a_key_of_the_file_does_not_blame_the_file(load: Load) -> None:
    told = message(load, WHOLE, "select.prune=2")
    assert "job.yaml:9" not in told


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_may_be_selected_and_compared(name: str, load: Load) -> None:
    job = load(MINIMAL, f"select.method={name}", f"evaluation.methods=[{name}]")
    assert (job.select.method, job.evaluation.methods) == (name, (name,))


def outcome(path: Path, *overrides: str) -> str:
    """What the job file comes to: a job, or what is wrong with it. No other error passes."""
    try:
        return type(load_job(path, overrides)).__name__
    except RequestError as error:
        return str(error)


YAML_BITS = st.text(alphabet="ab1:-[]{},&*!|>'\"#%@?<~ \n\t=.e\u0085\x00é", max_size=25)


@given(st.sampled_from(["", MINIMAL, MINIMAL + "select:\n"]), st.text(max_size=20) | YAML_BITS)
@example("", "{[a]: 1}")
@example("", "{{a: 1}: 1}")
@example("", "? [a, b]\n: 1")
@example(MINIMAL, "training: 2020-99-99")
@example(MINIMAL, "training: !!int x")
@example(MINIMAL, "training: !!float x")
@example(MINIMAL, "training: !!binary é")
@example(MINIMAL, "training: !!timestamp x")
@example(MINIMAL, "training: 0b_")
@example(MINIMAL, "training: 0x_")
@example(MINIMAL, "training: {batch: " + "9" * 5000 + "}")
@example(MINIMAL, "1: 2")
@example(MINIMAL, "null: 2")
@example(MINIMAL, "select: {1: 2}")
@example(MINIMAL, "<<: 3")
@example(MINIMAL, "training: " + "[" * 3000)
@example(MINIMAL, "training: " + "{a: " * 3000)
def test_any_text_is_a_job_or_a_request_error(tmp_path_factory: Any, above: str, text: str) -> None:
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(above + text, encoding="utf-8")
    assert outcome(path).startswith(("Job", str(path)))


@given(st.text(max_size=12) | YAML_BITS, st.text(max_size=12) | YAML_BITS)
@example("select", "{[a]: 1}")
@example("select.prune", "2020-99-99")
@example("corpus.test", "{1: 2}")
def test_any_override_is_a_job_or_a_request_error(tmp_path_factory: Any, key: str, value: str) -> None:
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert outcome(path, f"{key}={value}").startswith(("Job", str(path), "--set"))


def test_a_training_alone_is_written_as_before_there_were_teams(tmp_path: Path) -> None:
    """The recipes and records of jobs that do not name `training.workers` keep their bytes."""
    path = tmp_path / "job.yaml"
    path.write_text(MINIMAL)
    alone, said, two = (load_job(path, [*given]) for given in ((), ["training.workers=1"], ["training.workers=2"]))
    assert alone == said
    for job in (alone, said):
        assert "workers" not in job.training.model_dump(exclude={"cache"})
        assert "workers" not in job.model_dump(mode="json")["training"]
    assert two.training.model_dump(exclude={"cache"}) == alone.training.model_dump(exclude={"cache"}) | {"workers": 2}
    assert [Job.model_validate(job.model_dump(mode="json")) for job in (alone, two)] == [alone, two]


@pytest.mark.parametrize("text", ["[" * 17 + "1" + "]" * 17, "{a: " * 17 + "1" + "}" * 17, "[" * 900], ids=range(3))
def test_nesting_has_an_end(text: str, load: Load) -> None:
    told = message(load, MINIMAL + f"network: {text}\n")
    assert "job.yaml:5:" in told
    assert "nesting beyond 16 levels" in told


def test_a_file_that_is_no_job_for_its_size_is_refused_unparsed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "load", lambda *_, **__: pytest.fail("it is parsed"))
    assert "expected a job file of at most 128 KiB" in message(load, MINIMAL + "#" * (1 << 17))


@pytest.mark.parametrize(
    "text", ["9" * 30, "0x" + "f" * 40, "0x" + "f" * 6000, "1:" * 30_000 + "1", "-" + "9" * 25], ids=range(5)
)
def test_an_integer_has_64_bits(text: str, load: Load) -> None:
    told = message(load, MINIMAL + f"training: {{batch: {text}}}\n")
    assert "job.yaml:5: expected YAML, found a mistake: an integer beyond 64 bits" in told


@pytest.mark.parametrize("pattern", ["(a{99999999999999999999})", "(" * 3000 + ")" * 3000], ids=range(2))
def test_a_pattern_that_python_cannot_compile_is_refused(pattern: str, load: Load) -> None:
    assert "corpus.group: expected a regular expression" in message(load, MINIMAL, f"corpus.group='{pattern}'")


@pytest.mark.parametrize(
    "text", ["name: " + "x" * 90_000 + "!", "name: x\x07", "select: " + "y" * 50_000, "k" * 9999 + ": 1"]
)
def test_a_message_is_one_short_paragraph(text: str, load: Load) -> None:
    told = message(load, text)
    assert "\n" not in told
    assert len(told) < 1000
