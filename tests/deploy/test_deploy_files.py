"""The files in deploy/, each read by the tool that will read it, and by what pg_trio itself knows about them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pg_trio.config import parse_settings
from pg_trio.config.settings import Settings
from pg_trio.server.supervisor import KILL_AFTER_DRAIN_S
from tests.deploy.deploy_tools import DEPLOY, ROOT, read_yaml, replace_once, run_tool
from tests.deploy.front_proxies import Ports, write_haproxy, write_nginx
from tests.deploy.metric_table import ADDED, METRICS, OUTCOMES

pytestmark = pytest.mark.slow

PORTS = Ports(8443, 8080, 8080, 8081)
# systemd's own words for 2.0 and less: "OK". Of services in Debian few are below 5.
MOST_EXPOSED = "20"
UNIT = DEPLOY / "systemd" / "pg-trio.service"
CONTAINER = DEPLOY / "container"
KUBERNETES = DEPLOY / "kubernetes"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "pg_trio.json"


def settings_of(path: Path) -> Settings:
    text = re.sub(r'"file:[^"]*"', '"sk-of-this-test"', path.read_text(encoding="utf-8"))
    return parse_settings(text, path.name, path.parent, {})


def drain_s(settings: Settings) -> float:
    """How long the gateway takes at most from SIGTERM to its end."""
    server = settings.server
    return (server.drain_notice_ms + server.drain_ms) / 1000 + KILL_AFTER_DRAIN_S


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    command = write_nginx(tmp_path, PORTS)

    run_tool("nginx", "-t", *command[1:], folder=tmp_path)


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    run_tool("caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "caddy" / "Caddyfile", folder=tmp_path)
    formatted = run_tool("caddy", "fmt", DEPLOY / "caddy" / "Caddyfile", folder=tmp_path)

    assert (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8") == formatted


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    write_haproxy(tmp_path, PORTS)

    run_tool("haproxy", "-c", "-dW", "-f", tmp_path / "haproxy.cfg")


def test_unit_is_sound(tmp_path: Path) -> None:
    program = tmp_path / "pg-trio"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    text = replace_once(UNIT.read_text(encoding="utf-8"), {"/opt/pg_trio/bin/pg-trio": str(program)})
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")

    told = run_tool("systemd-analyze", "verify", "--man=no", tmp_path / UNIT.name)
    run_tool("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT)

    assert [] == [line for line in told.splitlines() if UNIT.name in line]


def test_unit_waits_for_the_drain() -> None:
    text = UNIT.read_text(encoding="utf-8")
    [limit] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)

    assert drain_s(parse_settings("", "empty.toml", ROOT, {})) < int(limit)


def test_containerfile_has_no_warning() -> None:
    run_tool("hadolint", "--failure-threshold", "style", CONTAINER / "Containerfile")


def test_containerfile_copies_what_the_build_needs() -> None:
    text = (CONTAINER / "Containerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for name in line.split()}
    ignored = [
        (CONTAINER / f"Containerfile.{name}ignore").read_text(encoding="utf-8") for name in ("container", "docker")
    ]
    allowed = set(re.findall(r"^!(.*)$", ignored[0], re.MULTILINE))

    assert allowed == copied
    assert all((ROOT / name).exists() for name in copied)
    assert ignored[0] == ignored[1]


def test_compose_file_is_sound() -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", CONTAINER / "compose.yaml")
    [compose] = read_yaml(CONTAINER / "compose.yaml")
    gateway = compose["services"]["gateway"]

    assert drain_s(settings_of(CONTAINER / "gateway.toml")) < int(gateway["stop_grace_period"].removesuffix("s"))
    # The admin address is for this machine.
    assert ["8080:8080", "127.0.0.1:8081:8081"] == gateway["ports"]
    sources = [volume.split(":")[0] for one in compose["services"].values() for volume in one["volumes"]]
    assert [] == [name for name in sources if name.startswith(".") and not (CONTAINER / name).exists()]


def test_cluster_s_compose_file_is_sound() -> None:
    file = CONTAINER.parent / "compose.yaml"
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)
    [compose] = read_yaml(file)
    services = compose["services"]
    gateways = {name: one for name, one in services.items() if name.startswith("gateway-")}

    assert 3 == len({one["environment"]["PG_TRIO_CLUSTER__NODE"] for one in gateways.values()})
    assert 3 == len({one["volumes"][0] for one in gateways.values()})
    for one in gateways.values():
        assert drain_s(settings_of(CONTAINER / "gateway.toml")) < int(one["stop_grace_period"].removesuffix("s"))
    # Only nginx is reached from outside.
    assert ["nginx"] == [name for name, one in services.items() if "ports" in one]
    sources = [volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])]
    assert [] == [name for name in sources if name.startswith(".") and not (file.parent / name).exists()]


def test_manifests_are_sound() -> None:
    [kustomization] = read_yaml(KUBERNETES / "kustomization.yaml")
    names = kustomization["resources"]

    assert set(names) == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    for name in names:
        told = run_tool("kubernetes-validate", "--strict", KUBERNETES / name)
        assert "WARN" not in told


def test_pod_waits_for_the_drain() -> None:
    [manifest] = read_yaml(KUBERNETES / "statefulset.yaml")
    pod = manifest["spec"]["template"]["spec"]
    [gateway] = pod["containers"]
    settings = settings_of(KUBERNETES / "gateway.toml")
    ready = gateway["readinessProbe"]

    assert drain_s(settings) < pod["terminationGracePeriodSeconds"]
    # The pod is out of the service before it refuses a connection.
    assert 2 * ready["periodSeconds"] * ready["failureThreshold"] * 1000 <= settings.server.drain_notice_ms
    probes = [gateway[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [("/healthz", "http"), ("/healthz", "http"), ("/readyz", "http")] == [
        (probe["path"], probe["port"]) for probe in probes
    ]
    # One pod: limits and budgets are counted in files of one machine.
    assert 1 == manifest["spec"]["replicas"]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("pg_op_x", encoding="ascii")
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "prometheus.yml").write_text(replace_once(text, {"/run/secrets/operator_key": str(key)}))
    shutil.copy(ALERTS, tmp_path)

    run_tool("promtool", "check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yml")


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)

    run_tool("promtool", "test", "rules", "alerts_test.yml", folder=tmp_path)


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from [panel, *panel.get("panels", ())]


def dashboard_expressions() -> list[str]:
    """The panels' PromQL, with Grafana's variables replaced by what it would write there."""
    found = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return [re.sub(r"\$\w+", ".*", text.replace("$__rate_interval", "5m")) for text in found]


def test_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(dashboard_expressions())]
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    told = run_tool("promtool", "check", "rules", tmp_path / "rules.yml")

    assert f"{len(rules)} rules found" in told


def test_dashboard_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    ids = [panel["id"] for panel in panels()]

    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len(set(ids)) == len(ids)


def test_only_promised_metrics_are_used() -> None:
    [alerts] = read_yaml(ALERTS)
    expressions = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]] + dashboard_expressions()
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    expressions += [variable["definition"] for variable in variables if "definition" in variable]

    for text in expressions:
        names = set(re.findall(r"\b(?:pg_trio|process|gen_ai)_\w+", re.sub(r'"[^"]*"', '""', text)))
        assert names <= set(METRICS), text
        labels = {label for name in names for label in METRICS[name]} | ADDED
        assert set(used_labels(text)) <= labels, text
        for name in names & set(OUTCOMES):
            asked = [word for found in re.findall(r'outcome=~?"([^"]*)"', text) for word in found.split("|")]
            assert set(asked) <= OUTCOMES[name], text


def used_labels(text: str) -> list[str]:
    """Labels that a PromQL expression filters or groups by."""
    filters = [
        match for found in re.findall(r"\{([^}]*)\}", text) for match in re.findall(r"(\w+)\s*(?:=|!=|=~)", found)
    ]
    groups = [name.strip() for found in re.findall(r"\bby \(([^)]*)\)", text) for name in found.split(",")]
    return filters + groups


def test_alerts_are_explained() -> None:
    [alerts] = read_yaml(ALERTS)
    told = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")

    assert [] == [
        rule["alert"] for group in alerts["groups"] for rule in group["rules"] if f"`{rule['alert']}`" not in told
    ]


def test_every_file_is_explained() -> None:
    told = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    files = [path.relative_to(ROOT) for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".gitignore"]

    assert [] == [str(path) for path in files if f"`{path}`" not in told and f"`{path.parent}/`" not in told]


@pytest.mark.parametrize(
    "path", [CONTAINER / "gateway.toml", KUBERNETES / "gateway.toml"], ids=["container", "kubernetes"]
)
def test_shipped_configuration_is_sound(path: Path) -> None:
    settings = settings_of(path)

    assert ["summarize"] == [slug for one in settings.projects.values() for slug in one.endpoints]
