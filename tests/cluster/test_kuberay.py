"""The manifests for Kubernetes: their pods by Kubernetes' own schema, the rest by what KubeRay and our promises ask."""

import copy
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/kuberay"
VERSION = "1.31"
RECIPES = ["rayjob", "raycluster"]


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return loaded


def cluster_of(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = manifest(name)["spec"]
    return spec["rayClusterSpec"] if name == "rayjob" else spec


def groups(name: str) -> list[dict[str, Any]]:
    cluster = cluster_of(name)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(name: str) -> list[dict[str, Any]]:
    return [each for group in groups(name) for each in group["template"]["spec"]["containers"]]


def check_pod(template: dict[str, Any]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize("name", RECIPES)
def test_pods_are_what_kubernetes_takes(name: str) -> None:
    for group in groups(name):
        check_pod(group["template"])


@pytest.mark.parametrize("key", ["image", "volumeMounts", "resources"])
def test_a_misspelt_key_of_a_pod_is_found(key: str) -> None:
    template = copy.deepcopy(groups("rayjob")[0]["template"])
    container = template["spec"]["containers"][0]
    container[f"{key}s"] = container.pop(key)
    with pytest.raises(kubernetes_validate.ValidationError):
        check_pod(template)


def test_the_shared_volume_is_what_kubernetes_takes_and_what_the_pods_mount() -> None:
    claim = manifest("shared")
    kubernetes_validate.validate(claim, VERSION, strict=True)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in RECIPES:
        for group in groups(name):
            spec = group["template"]["spec"]
            (volume,) = spec["volumes"]
            assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            mounts = [mount for each in spec["containers"] for mount in each["volumeMounts"]]
            assert mounts == [{"name": volume["name"], "mountPath": "/shared"}] * len(spec["containers"])


@pytest.mark.parametrize("name", RECIPES)
def test_the_versions_are_those_of_the_tests(name: str) -> None:
    versions = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    package = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert versions and package
    assert cluster_of(name)["rayVersion"] == versions[1]
    assert {each["image"] for each in containers(name)} == {f"coreset:{package[1]}"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_token_guards_the_cluster_and_stands_in_no_manifest(name: str) -> None:
    cluster = cluster_of(name)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    for container in containers(name):
        values = {each["name"]: each.get("value") for each in container["env"]}
        assert values["RAY_USAGE_STATS_ENABLED"] == "0"
        assert not [key for key in values if re.search("TOKEN|SECRET|PASSWORD|KEY", key)]


@pytest.mark.parametrize("name", RECIPES)
def test_containers_run_without_privileges(name: str) -> None:
    for group in groups(name):
        spec = group["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            # What Ray counts with is what the pod has, and no neighbour can take it away.
            assert container["resources"]["limits"] == container["resources"]["requests"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_cluster_scales(name: str) -> None:
    assert cluster_of(name)["enableInTreeAutoscaling"] is True
    for group in cluster_of(name)["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["minReplicas"] < group["maxReplicas"]


def test_the_job_reads_what_the_image_holds_and_writes_what_all_pods_see() -> None:
    words = manifest("rayjob")["spec"]["entrypoint"].split()
    assert words[:2] == ["coreset", "run"]
    assert (ROOT / Path(words[2]).relative_to("/opt/coreset")).is_file()
    assert Path(words[words.index("--out") + 1]).is_relative_to("/shared")


def strict(schema: Any) -> Any:
    """The schema of a CRD as one that refuses what a cluster would drop in silence: keys that it does not know."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    known = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if known and "additionalProperties" not in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


CRDS = os.environ.get("KUBERAY_CRDS")
"""A folder with ray.io_rayjobs.yaml and ray.io_rayclusters.yaml, from the Helm chart of kuberay-operator."""


@pytest.mark.skipif(CRDS is None, reason="KUBERAY_CRDS does not name a folder with KubeRay's CRDs")
@pytest.mark.parametrize("name", RECIPES)
def test_the_manifest_is_what_the_crd_takes(name: str) -> None:
    crd = yaml.load(Path(str(CRDS), f"ray.io_{name}s.yaml").read_text(), yaml.CSafeLoader)
    given = manifest(name)
    group, version = given["apiVersion"].split("/")
    assert crd["spec"]["group"] == group
    assert crd["spec"]["names"]["kind"] == given["kind"]
    (served,) = [each for each in crd["spec"]["versions"] if each["name"] == version]
    assert served["served"]
    schema = served["schema"]["openAPIV3Schema"]
    checker = jsonschema.Draft202012Validator(strict(schema) | {"additionalProperties": True})
    checker.validate(given)
    for path in ("spec",), ("spec", "rayClusterSpec") if name == "rayjob" else ("spec", "headGroupSpec"):
        broken = copy.deepcopy(given)
        at = broken
        for key in path:
            at = at[key]
        at["misspelt"] = 1
        with pytest.raises(jsonschema.ValidationError, match="misspelt"):
            checker.validate(broken)
