"""The recipe for `ray up`, by Ray's own schema and checks."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster/ray-up/aws.yaml").read_text())
    return loaded


def check(recipe: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of it before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(recipe))
    validate_config(prepared)
    return prepared


def test_ray_takes_it(recipe: dict[str, Any]) -> None:
    prepared = check(recipe)
    assert prepared["available_node_types"]["worker"]["max_workers"] <= prepared["max_workers"]
    # Nothing of Ray's defaults comes in: they open the dashboard to everyone, and install another Ray.
    said = yaml.safe_dump(prepared)
    assert "0.0.0.0" not in said
    assert "wheel" not in said
    for name in ("head_start_ray_commands", "worker_start_ray_commands", "head_setup_commands", "file_mounts"):
        assert prepared[name] == recipe[name]


def test_what_it_does_not_know_is_refused(recipe: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(recipe | {"worker_setup_comands": []})
    with pytest.raises(ValueError, match="head_node_type"):
        check(recipe | {"head_node_type": "haed"})


def test_a_token_guards_every_node_and_stands_in_no_line(recipe: dict[str, Any]) -> None:
    options = recipe["docker"]["run_options"]
    assert {"--env RAY_AUTH_MODE=token", "--env RAY_USAGE_STATS_ENABLED=0"} <= set(options)
    assert recipe["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert "RAY_AUTH_TOKEN=" not in yaml.safe_dump(recipe)


def test_every_node_sees_the_shared_folder(recipe: dict[str, Any]) -> None:
    assert "--volume /shared:/shared" in recipe["docker"]["run_options"]
    assert any("mount -t nfs4" in line and line.endswith(" /shared") for line in recipe["initialization_commands"])
