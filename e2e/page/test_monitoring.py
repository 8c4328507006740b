"""The dashboard and the alert rules speak of metrics that exist."""

import json
import os
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path

import pytest
import yaml
from lib import artifacts, manifest
from lib.vdt import REPOSITORY, Vdt, http

MONITORING = REPOSITORY / "deploy" / "monitoring"
DASHBOARD, RULES = MONITORING / "dashboard.json", MONITORING / "alerts.yaml"
# Ours, and those that the operator has under the names of controller-runtime.
NAME = re.compile(r"\b(?:vdt|controller_runtime|leader_election|workqueue|rest_client)_[a-z0-9_]+")

REPOSITORY_URL = re.search(r'^repository = "(.+)"$', (REPOSITORY / "Cargo.toml").read_text(), re.M)[1]
BLOB = f"{REPOSITORY_URL}/blob/main/"

# What this process has no occasion for. Such a name must at least be registered somewhere in the code.
ELSEWHERE = {
    "vdt_tls_certificate_start_timestamp_seconds": "TLS",
    "vdt_tls_certificate_expiry_timestamp_seconds": "TLS",
    "vdt_http_connections_ended_total": "a client that is cut",
    "vdt_http_refused_total": "a client without rights, or an overload",
    "vdt_table_refresh_interval_seconds": "a table with a timer",
}
# What only the operator has: registered there, under just this name.
OPERATOR = {
    "vdt_virtualtable_condition",
    "vdt_node_loss_claims_deleted_total",
    "leader_election_master_status",
    "controller_runtime_reconcile_total",
    "controller_runtime_reconcile_errors_total",
    "controller_runtime_reconcile_panics_total",
}
# Parts that a process may not have at all: their names are checked as soon as one of the part is there.
PARTS = ("vdt_cache_", "vdt_origin_", "vdt_log_")


def expressions() -> dict[str, str]:
    """Every query, by where it stands."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            found[f"panel {panel['title']!r} {target['refId']}"] = target["expr"]
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            found[f"variable {variable['name']}"] = variable["definition"]
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            found[f"alert {rule['alert']}"] = rule["expr"]
    return found


def shown(text: str) -> set[str]:
    """Names of samples, those of families that have none yet too: OpenMetrics names the family, and its kind makes the suffix."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    names = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            names |= {family + suffix for suffix in suffixes[kind]}
        elif not line.startswith("#"):
            names.add(re.match(r"[a-z0-9_]+", line).group())
    return names


@pytest.fixture(scope="module")
def metrics(vdt) -> str:
    table = vdt.table("manuals")
    for path in ("/", "/main/default/manuals/_delta_log/00000000000000000000.json", "/main/nothing", "/v1/main/default/manuals/"):
        http("GET", vdt.endpoint + path)
    listed = http("GET", f"{vdt.endpoint}/main?list-type=2&prefix={urllib.parse.quote('default/manuals/')}")[2].decode()
    file = next(key for key in re.findall(r"<Key>([^<]+)</Key>", listed) if key.endswith(".parquet"))
    for _ in range(2):
        assert http("GET", f"{table.endpoint}/main/{file}")[0] == 200
    vdt.refresh()
    return vdt.admin("GET", "/metrics")[1].decode()


def test_every_name_exists(metrics):
    names = shown(metrics)
    source, operator = (
        "".join(p.read_text() for crate in crates for p in (REPOSITORY / crate).rglob("src/**/*.rs")) for crates in (("vdt", "sidecar"), ("operator",))
    )
    absent = tuple(part for part in PARTS if not any(name.startswith(part) for name in names))
    wrong, unchecked = {}, set()
    for where, expression in expressions().items():
        for name in NAME.findall(expression):
            family = re.sub(r"_(total|bucket|sum|count)$", "", name)
            if name in names:
                continue
            if name in ELSEWHERE and f'"{family}"' in source:
                continue
            if name in OPERATOR and f'"{family}"' in operator:
                continue
            if name.startswith(absent):
                unchecked.add(name)
                continue
            wrong.setdefault(name, []).append(where)
    assert wrong == {}, f"no such metric, or by another name; there are {sorted(names)}"
    if unchecked:
        print(f"this process has no {', '.join(absent)}: not checked are {', '.join(sorted(unchecked))}")


def test_everything_that_is_measured_can_be_seen(metrics):
    """A metric that neither dashboard nor rules speak of is one that nobody looks at."""
    asked = {re.sub(r"_(total|bucket|sum|count)$", "", n) for e in expressions().values() for n in NAME.findall(e)}
    families = {line.split(" ")[2] for line in metrics.splitlines() if line.startswith("# TYPE vdt_")}
    assert families - asked <= {"vdt_tls_handshakes", "vdt_log_snapshots", "vdt_log_kept_bytes"} | {
        f for f in families if f.startswith("vdt_cache_")
    }


def test_a_table_tells_its_interval_where_it_has_a_timer(metrics, tmp_path):
    assert "vdt_table_refresh_interval_seconds{" not in metrics, "on request only"
    artifacts.write_folder(tmp_path / "files", {"a": b"a"})
    table = manifest.virtual_table("hourly", [manifest.folder("files")], refresh={"intervalSeconds": 3600})
    with Vdt(manifest.write(tmp_path / "hourly.yaml", table), state=tmp_path / "state", work=tmp_path / "run") as hourly:
        said = hourly.admin("GET", "/metrics")[1].decode()
    assert 'vdt_table_refresh_interval_seconds{table="main/default/hourly"} 3600.0\n' in said


def test_runbooks_exist():
    """Each alert says where to read on, and the heading is there."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys(), rule["alert"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            url = rule["annotations"]["runbook_url"]
            assert url.startswith(BLOB), url
            path, anchor = url.removeprefix(BLOB).split("#")
            headings = re.findall(r"^#+ (.+)$", (REPOSITORY / path).read_text(), re.M)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}, rule["alert"]


def test_rules_tell_clusters_apart():
    """One Prometheus may have the metrics of many clusters, with the same names in each: what is well in one hides nothing of another."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            expression, name = rule["expr"], rule["alert"]
            for labels in re.findall(r"\b(?:by|on) ?\(([^)]*)\)", expression):
                assert "cluster" in re.split(r", ?", labels), f"{name}: ({labels})"
            # An aggregation without labels makes one of all clusters, and `without` and `ignoring` would have to be thought about.
            loose = re.findall(r"\b(?:sum|max|min|count|avg|group|quantile|topk|bottomk)\b(?! by)|\bwithout\b|\bignoring\b", expression)
            assert loose == [], f"{name}: {loose}"


def promtool(*args: str) -> None:
    program = shutil.which("promtool")
    if not program:
        why = "promtool is not installed (apt-get install prometheus)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    checked = subprocess.run([program, *args], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_rules_are_rules():
    promtool("check", "rules", str(RULES))


def test_rules_fire_when_they_should():
    promtool("test", "rules", str(Path(__file__).parent / "alerts.test.yaml"))


def test_the_dashboard_has_no_holes():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["type"] == "row" or panel["targets"], panel["title"]
